import json
from pathlib import Path

import pytest
import torch
from fake_runs import fake_result, save

from fsft import JointNet, backbone
from fsft.evidence.ledger import verify
from fsft.evidence.probes import (
    load_probes,
    mask_recognition,
    padding_probe,
    probe_problems,
    quadrants_named,
    without_border,
)
from fsft.runtime.record import canonical_digest

ROOT = Path(__file__).resolve().parents[2]
STATISTICS = (torch.full((3,), 0.5), torch.full((3,), 0.25))


@pytest.fixture
def net() -> JointNet:
    torch.manual_seed(0)
    return JointNet(backbone("resnet8"), 10).eval()


def test_recognition_counts_the_named_masks(net: JointNet) -> None:
    """With a classifier that always names mask 2, the third column is full."""
    torch.nn.init.zeros_(net.fc_last.weight)
    net.fc_last.bias.data = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0]).repeat(10)
    table = mask_recognition(net, torch.randn(7, 3, 32, 32))
    assert table[:, 2].tolist() == [100.0] * 5 and table.sum() == 500
    assert quadrants_named(table.tolist()) == 25


def test_without_a_border_the_four_views_of_a_blank_image_are_equal(net: JointNet) -> None:
    blank = torch.randn(2, 3, 1, 1).expand(-1, -1, 32, 32)
    with torch.inference_mode():
        circular, zeros = without_border(net)(blank).last, net(blank).last
    for view in (2, 3, 4):
        torch.testing.assert_close(circular[:, view], circular[:, 1])
        assert not torch.allclose(zeros[:, view], zeros[:, 1], atol=1e-3)
    assert net.stages[0][0].padding_mode == "zeros"  # the network itself is left alone


def test_an_untrained_network_gives_two_tables_that_repeat(net: JointNet) -> None:
    tables = padding_probe(net, 32, STATISTICS, count=20)
    assert set(tables) == {"blank", "blank, no border"}
    assert quadrants_named(tables["blank, no border"]) <= 25
    assert tables == padding_probe(net, 32, STATISTICS, count=20)


def written(folder: Path, **changes: object) -> Path:
    run = fake_result("cpu/resnet20/fsft", si=50.0)
    save(folder, run)
    name = f"{run['slug']}-seed0.json"
    probe = {"probe": "padding", "run": name, "weights_sha256": run["weights_sha256"], "recognition": {}} | changes
    probe["digest"] = canonical_digest(probe)
    path = folder / "probes" / f"padding-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(probe))
    return path


def test_a_probe_belongs_to_the_weights_of_its_run(tmp_path: Path) -> None:
    written(tmp_path)
    assert probe_problems(tmp_path) == [] and len(load_probes(tmp_path)) == 1
    written(tmp_path, weights_sha256="d" * 64)
    assert "is not that of" in probe_problems(tmp_path)[0]
    assert any("weights_sha256" in problem for problem in verify(tmp_path))
    written(tmp_path, run="other-seed0.json")
    assert "expected the run other-seed0.json" in probe_problems(tmp_path)[0]


def test_an_edited_probe_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_text(path.read_text().replace('"padding"', '"paddinh"'))
    assert "the digest does not belong" in probe_problems(tmp_path)[0]
    with pytest.raises(ValueError, match="restore it from git"):
        load_probes(tmp_path)


def test_the_committed_probes_belong_to_the_committed_runs() -> None:
    assert probe_problems(ROOT / "results") == []
    for probe in load_probes(ROOT / "results"):
        assert all(abs(sum(row) - 100) < 1e-6 for table in probe["recognition"].values() for row in table)
