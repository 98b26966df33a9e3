import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fsft import JointNet, PlainNet, backbone, joint_loss, masked_average_pool
from fsft.backbones import PyramidBasic, PyramidBottleneck, WideBlock
from fsft.stages import feature_shapes

TINY = [  # one block in each stage
    ("wrn10-1", {"dropout": 0.3}),
    ("pyramidnet8-6", {"block": "basic"}),
    ("pyramidnet11-6", {"block": "bottleneck"}),
]


@pytest.mark.parametrize(
    ("name", "block", "count"),
    [
        ("wrn28-10", "basic", 36_536_884),
        ("pyramidnet110-270", "basic", 28_511_307),
        ("pyramidnet110-270", "bottleneck", 18_426_837),
        ("resnet50", "bottleneck", 23_508_032 + 2049 * 100),
    ],
)
def test_parameter_counts(name, block, count):
    """At 100 classes with the baseline's classifier; from the literature."""
    with torch.device("meta"):
        net = PlainNet(backbone(name, block=block), 100)
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("wrn28-10", (16, 160, 320, 640)),
        ("pyramidnet110-270", (16, 106, 196, 286)),
    ],
)
def test_stages_of_the_papers_networks(name, channels):
    with torch.device("meta"):
        stages = backbone(name)
    sizes = (32, 32, 16, 8)
    assert list(feature_shapes(stages).values()) == [(c, s, s) for c, s in zip(channels, sizes, strict=True)]


def test_resnet50_has_seven_by_seven_maps_at_224_pixels():
    with torch.device("meta"):
        net = JointNet(backbone("resnet50"), 120, input_size=224)
    assert list(feature_shapes(net.stages, 224)) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    assert net.taps == ("layer3", "layer4")
    assert net.masks_of("layer3").shape == (5, 14, 14) and net.masks_of("layer4").shape == (5, 7, 7)
    assert net.fc_last.weight.shape == (600, 2048) and net.fc_penultimate.weight.shape == (600, 1024)


def test_odd_maps_of_a_four_stage_network_train():
    """224 pixels give 7 x 7; 72 pixels, with the same unequal quadrants, 5 x 5 and 3 x 3."""
    torch.manual_seed(0)
    net = JointNet(backbone("resnet18"), 3, self_distill=True, input_size=72)
    assert net.masks_of("layer3").shape == (5, 5, 5) and net.masks_of("layer4").shape == (5, 3, 3)
    joint_loss(net(torch.randn(2, 3, 72, 72)), torch.tensor([0, 2])).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(("name", "options"), TINY)
def test_every_parameter_learns(name, options):
    torch.manual_seed(0)
    net = JointNet(backbone(name, **options), 3, self_distill=True)
    images = torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)
    joint_loss(net(images), torch.tensor([0, 2])).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(("name", "options"), TINY)
def test_penultimate_tap_sees_the_sum_before_the_next_batch_norm(name, options):
    """Appendix B masks what layer2 returns; a pre-activation stage returns a sum, negative values included."""
    torch.manual_seed(0)
    net = JointNet(backbone(name, **options), 3).eval()
    images = torch.randn(2, 3, 32, 32)
    before_last = net.stages[:3](images)
    last = net.stages[3](before_last)
    assert before_last.min() < 0 <= last.min()
    for features, classifier, found in (
        (before_last, net.fc_penultimate, net(images).penultimate),
        (last, net.fc_last, net(images).last),
    ):
        masks = net.masks_of("layer2" if features is before_last else "layer3")
        torch.testing.assert_close(found, classifier(masked_average_pool(features, masks)))


@pytest.mark.parametrize(("name", "options"), TINY)
def test_final_activation_belongs_to_the_last_stage(name, options):
    *_, norm, activation = backbone(name, **options).layer3
    assert isinstance(norm, nn.BatchNorm2d) and isinstance(activation, nn.ReLU)


def test_wide_block_equals_its_formula():
    torch.manual_seed(0)
    block, x = WideBlock(4, 6, 2, dropout=0.3).eval(), torch.randn(2, 4, 8, 8)
    block.bn1.running_mean.normal_()
    activated = F.relu(block.bn1(x))
    branch = block.conv2(F.relu(block.bn2(block.conv1(activated))))
    torch.testing.assert_close(block(x), branch + F.conv2d(activated, block.shortcut.weight, stride=2))
    same = WideBlock(4, 4, 1, dropout=0.3).eval()
    branch = same.conv2(F.relu(same.bn2(same.conv1(F.relu(same.bn1(x))))))
    torch.testing.assert_close(same(x), branch + x)


def test_dropout_is_between_the_convolutions_and_only_in_training():
    torch.manual_seed(0)
    block, x = WideBlock(4, 4, 1, dropout=1.0), torch.randn(2, 4, 8, 8)
    assert torch.equal(block.train()(x), x)  # the branch is dropped whole: nothing comes after it but a convolution
    assert not torch.equal(block.eval()(x), x)
    assert backbone("wrn10-1").layer1[0].dropout.p == 0.3


@pytest.mark.parametrize(("block_class", "norm"), [(PyramidBasic, "bn3"), (PyramidBottleneck, "bn4")])
def test_pyramid_shortcut_averages_and_pads_zeros(block_class, norm):
    block, x = block_class(3, 5, 2), torch.randn(2, 3, 7, 7)
    nn.init.zeros_(block.get_submodule(norm).weight)  # no branch
    out = block(x)
    assert out.shape == (2, 5 * block_class.expansion, 4, 4)
    torch.testing.assert_close(out[:, :3], F.avg_pool2d(x, 2, ceil_mode=True))
    assert not out[:, 3:].any()


def test_pyramid_basic_block_has_no_activation_before_its_first_convolution():
    torch.manual_seed(0)
    block, x = PyramidBasic(3, 3, 1).eval(), torch.randn(2, 3, 8, 8)
    branch = block.bn3(block.conv2(F.relu(block.bn2(block.conv1(block.bn1(x))))))
    torch.testing.assert_close(block(x), x + branch)


@pytest.mark.parametrize(("name", "options"), TINY)
def test_compiles_in_one_piece_in_any_dtype(name, options):
    net = PlainNet(backbone(name, **options), 3).to(torch.float64).eval()
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), net(x))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wrn27-10", {}, "expected a depth of 6n \\+ 4 .* found 27"),
        ("wrn28-10", {"block": "bottleneck"}, "expected block 'basic' and shortcut 'B'.*found 'bottleneck'"),
        ("pyramidnet110-270", {"shortcut": "B"}, "shortcut 'A' \\(zero padding\\).*found 'basic' and 'B'"),
        ("pyramidnet111-270", {}, "expected a depth of 6n \\+ 2 for basic blocks, found 111"),
        ("resnet50", {"block": "basic"}, "expected block 'bottleneck' and shortcut 'B' for resnet50, found 'basic'"),
        ("wrn28", {}, "expected a backbone named .*found 'wrn28'"),
    ],
)
def test_what_does_not_exist(name, options, message):
    with pytest.raises(ValueError, match=message):
        backbone(name, **options)
