"""What a trained network is asked after training, on networks whose answers are known beforehand."""

import importlib
import sys
from pathlib import Path

import pytest
import tiny
import torch

from fsft import JointNet, PlainNet, backbone, joint_loss
from fsft.evidence.ledger import load_results
from fsft.evidence.probes import quadrants_named
from fsft.evidence.verify import verify
from fsft.framework import JointOutput

STATISTICS = (torch.full((3,), 0.5), torch.full((3,), 0.25))
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def probe(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("network_probe")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return JointNet(backbone("resnet8"), 10).eval()


def test_recognition_counts_the_named_masks(probe, net):
    """With a classifier that always names mask 2, the third column is full."""
    torch.nn.init.zeros_(net.fc_last.weight)
    net.fc_last.bias.data = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0]).repeat(10)
    table = probe.mask_recognition(net, torch.randn(7, 3, 32, 32))
    assert table[:, 2].tolist() == [100.0] * 5 and table.sum() == 500
    assert quadrants_named(table.tolist()) == 25


def test_without_a_border_the_four_views_of_a_blank_image_are_equal(probe, net):
    blank = torch.randn(2, 3, 1, 1).expand(-1, -1, 32, 32)
    with torch.inference_mode():
        circular, zeros = probe.without_border(net)(blank).last, net(blank).last
    for view in (2, 3, 4):
        torch.testing.assert_close(circular[:, view], circular[:, 1])
        assert not torch.allclose(zeros[:, view], zeros[:, 1], atol=1e-3)
    assert net.stages[0][0].padding_mode == "zeros"  # the network itself is left alone


def test_an_untrained_network_gives_tables_that_repeat(probe, net):
    images = torch.randn(6, 3, 32, 32)
    tables = probe.recognition(net, images, STATISTICS, count=20)
    assert set(tables) == {"blank", "blank, no border", "test images", "test images, no border"}
    assert quadrants_named(tables["blank, no border"]) <= 25
    assert tables == probe.recognition(net, images, STATISTICS, count=20)


def test_the_two_parts_of_the_loss_are_eq_2(probe, net):
    train_set, _ = tiny.data()
    parts = probe.loss_parts(net, train_set)
    with torch.inference_mode():
        x = probe.augment.normalize(train_set.images, *train_set.statistics)
        whole = joint_loss(JointOutput(net(x).last), train_set.labels)
    assert parts["mask"] + parts["class"] == pytest.approx(whole.item(), rel=1e-4)
    assert min(parts.values()) > 0


def test_features_are_asked_under_five_conditions(probe):
    """Shares of images, all of them; and another classifier fitted to the very images that it is asked about wins."""
    torch.manual_seed(0)
    train_set, test_set = tiny.data()
    found = probe.features(PlainNet(backbone("resnet8"), train_set.num_classes).eval(), train_set, test_set)
    conditions = ("as it is", "without copies", "image without a quadrant", "features without a quadrant", "linear")
    assert tuple(found) == conditions
    assert all(0 <= value <= 100 for value in found.values())
    itself = probe.features(PlainNet(backbone("resnet8"), train_set.num_classes).eval(), train_set, train_set)
    assert itself["linear"] > itself["as it is"]


def test_a_finished_run_is_probed_and_its_file_is_sound(probe, tmp_path, monkeypatch, capsys):
    results, runs = tmp_path / "results", tmp_path / "runs"
    recipe, data, _ = tiny.finished(tmp_path, tiny.data())
    monkeypatch.setattr(probe, "recipe_data", lambda recipe, folder: data)
    folders = ["--runs-dir", str(runs), "--results-dir", str(results)]
    monkeypatch.setattr(sys, "argv", ["probe", recipe.run_name(0), *folders])
    probe.main()
    assert "no border: the dropped quadrant is named for" in capsys.readouterr().out
    assert verify(results) == []
    (one,) = load_results(results)
    assert one.probe["features"]["as it is"] == pytest.approx(one.last["si"], abs=0.01)
