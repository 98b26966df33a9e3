import pytest
import torch

from fsft import JointNet, backbone
from fsft.evidence.probes import mask_recognition, padding_probe, quadrants_named, without_border

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
