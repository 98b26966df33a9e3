import pytest
import torch

from fsft import PlainNet, backbone
from fsft.stages import feature_shapes

PARAMETERS = [  # at 100 classes; from the literature, except where counted there only for other class numbers
    ("resnet20", "basic", "B", 278_324),
    ("resnet56", "basic", "B", 861_620),
    ("resnet56", "basic", "A", 858_868),
    ("resnet110", "basic", "B", 1_736_564),
    ("resnet110", "basic", "A", 1_733_812),
    ("resnet56", "bottleneck", "B", 614_452),
    ("resnet110", "bottleneck", "B", 1_170_868),
    ("resnet164", "bottleneck", "B", 1_727_284),
]


@pytest.mark.parametrize(("name", "block", "shortcut", "count"), PARAMETERS)
def test_parameter_counts(name, block, shortcut, count):
    with torch.device("meta"):
        stages = backbone(name, block=block, shortcut=shortcut)
    channels = 64 if block == "basic" else 256
    classifier = (channels + 1) * 100
    assert sum(parameter.numel() for parameter in stages.parameters()) + classifier == count


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize(("name", "block", "channels"), [("resnet8", "basic", 64), ("resnet11", "bottleneck", 256)])
def test_stages_halve_the_map_and_train(name, block, shortcut, channels):
    stages = backbone(name, block=block, shortcut=shortcut)
    expansion = channels // 64
    assert feature_shapes(stages) == {
        "stem": (16, 32, 32),
        "layer1": (16 * expansion, 32, 32),
        "layer2": (32 * expansion, 16, 16),
        "layer3": (64 * expansion, 8, 8),
    }
    net = PlainNet(stages, 10)
    net(torch.randn(2, 3, 32, 32).to(memory_format=torch.channels_last)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_option_a_pads_zeros_after_subsampling():
    from fsft.backbones import PadShortcut

    x = torch.randn(1, 2, 4, 4)
    out = PadShortcut(2, 5, 2)(x)
    assert torch.equal(out[:, :2], x[:, :, ::2, ::2]) and not out[:, 2:].any() and out.shape == (1, 5, 2, 2)


def test_he_initialization():
    torch.manual_seed(0)
    weight = backbone("resnet56", block="basic").get_parameter("layer3.3.conv1.weight")
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)


def test_papers_depths_default_to_bottlenecks():
    assert feature_shapes(backbone("resnet56"))["layer3"][0] == 256
    assert feature_shapes(backbone("resnet20"))["layer3"][0] == 64


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet57", {"block": "basic"}, "depth of 6n \\+ 2 for basic blocks, found 57; the nearest are 56 and 62"),
        ("resnet100", {"block": "bottleneck"}, "depth of 9n \\+ 2 for bottleneck blocks, found 100"),
        ("resnet2", {"block": "basic"}, "found 2; the nearest are 8 and 14"),
        ("vgg16", {}, "expected a backbone named resnet<depth>.*found 'vgg16'"),
        ("resnet20", {"block": "dense"}, "expected block to be one of .*found 'dense'"),
        ("resnet20", {"shortcut": "C"}, "expected shortcut to be one of .*found 'C'"),
    ],
)
def test_what_does_not_exist(name, options, message):
    with pytest.raises(ValueError, match=message):
        backbone(name, **options)
