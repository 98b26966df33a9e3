"""Backbones as named stages, so that FSFT can tap the feature map after any of them (Sections 4.1 and 4.2).

A backbone is an ``nn.Sequential`` with children ``stem, layer1, layer2, ...``, its convolutions with He initialization;
pooling and classifiers belong to the networks in :mod:`fsft.framework`. ResNets (He et al., 2016), Wide ResNets
(Zagoruyko and Komodakis, 2016) and PyramidNets (Han et al., 2017) for 32 x 32 images are written out, because
"ResNet-110" names two different networks in the literature, with basic blocks (6n + 2 layers) or bottlenecks (9n + 2),
and "PyramidNet-110-270" two more; the paper does not say which it used, so ``block`` is a visible argument. ImageNet's
ResNets are torchvision's.
"""

import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fsft.stages import as_stages, he_initialization, pad_channels


class PadShortcut(nn.Module):
    """Option A of He et al.: subsample and append zero channels; no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        return pad_channels(x[:, :, :: self.stride, :: self.stride], self.out_channels)


def projection_shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Option B of He et al.: a strided 1 x 1 convolution with batch normalization."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


SHORTCUTS = {"A": PadShortcut, "B": projection_shortcut}


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, post-activation."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        same = stride == 1 and in_channels == width
        self.shortcut = nn.Identity() if same else SHORTCUTS[shortcut](in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions with a four times wider output, and a shortcut; post-activation.

    The stride sits in the 3 x 3 convolution, as in torchvision.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: str):
        super().__init__()
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else SHORTCUTS[shortcut](in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        return F.relu(out + self.shortcut(x), inplace=True)


RESNET_BLOCKS: dict[str, tuple[type[nn.Module], int]] = {"basic": (BasicBlock, 2), "bottleneck": (Bottleneck, 3)}


def cifar_resnet(depth: int, block: str, shortcut: str = "B") -> nn.Sequential:
    """A ResNet for 32 x 32 images (He et al., Section 4.2): three stages of n blocks, widths 16, 32 and 64.

    Args:
        depth: 6n + 2 with ``block="basic"``, 9n + 2 with ``block="bottleneck"``.
        block: ``"basic"`` or ``"bottleneck"``. The paper's memory column fits the bottleneck.
        shortcut: ``"A"`` (zero padding) or ``"B"`` (projection) where the shape changes.

    Images (B, 3, H, W) become features (B, C, H/4, W/4) with C = 64 (basic) or 256 (bottleneck).
    """
    _expect(block in RESNET_BLOCKS, f"block to be one of {sorted(RESNET_BLOCKS)}", block)
    _expect(shortcut in SHORTCUTS, f"shortcut to be one of {sorted(SHORTCUTS)}", shortcut)
    block_class, layers = RESNET_BLOCKS[block]
    blocks = _blocks_per_stage(depth, 3 * layers, 2, f"{block} blocks")
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    widths = [[width] * blocks for width in (16, 32, 64)]
    return _three_stages(stem, widths, partial(block_class, shortcut=shortcut), final_norm=False)


class WideBlock(nn.Module):
    """Pre-activation basic block: BN-ReLU-conv, BN-ReLU-dropout-conv, and a shortcut.

    Where the width changes, the shortcut is a 1 x 1 convolution of the activated input, which both share.
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = stride == 1 and in_channels == width
        self.shortcut = None if same else nn.Conv2d(in_channels, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x), inplace=True)
        out = self.dropout(F.relu(self.bn2(self.conv1(activated)), inplace=True))
        return self.conv2(out) + (x if self.shortcut is None else self.shortcut(activated))


def wide_resnet(
    depth: int, widen: int, block: str = "basic", shortcut: str = "B", dropout: float = 0.3
) -> nn.Sequential:
    """Wide ResNet-``depth``-``widen`` for 32 x 32 images: three stages of n blocks, ``widen`` times 16, 32, 64 wide.

    A stage of a pre-activation network ends in a sum, before the BN-ReLU of the next block. The tap after ``layer2``
    sees this sum, as "layer2" in Appendix B would; the BN-ReLU after the last block belongs to ``layer3``.

    Args:
        depth: 6n + 4.
        widen: factor of the widths.
        block, shortcut: only ``"basic"`` and ``"B"`` (projection) exist.
        dropout: probability of dropping a value between the two convolutions of a block; 0.3 in the paper.

    Images (B, 3, H, W) become features (B, 64 * widen, H/4, W/4).
    """
    found = f"{block!r} and {shortcut!r}"
    _expect((block, shortcut) == ("basic", "B"), "block 'basic' and shortcut 'B' for a Wide ResNet", found, quote=False)
    _expect(widen >= 1, "a factor of at least 1", f"wrn{depth}-{widen}")
    blocks = _blocks_per_stage(depth, 6, 4, "Wide ResNets")
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False))
    widths = [[width * widen] * blocks for width in (16, 32, 64)]
    return _three_stages(stem, widths, partial(WideBlock, dropout=dropout))


class PyramidBasic(nn.Module):
    """BN-conv, BN-ReLU-conv, BN, and a zero-padded shortcut."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.shortcut = pooled_identity(stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        out = self.bn3(self.conv2(F.relu(self.bn2(out), inplace=True)))
        return out + pad_channels(self.shortcut(x), out.shape[1])


class PyramidBottleneck(nn.Module):
    """BN-conv 1 x 1, BN-ReLU-conv 3 x 3, BN-ReLU-conv 1 x 1 (four times wider), BN, and a zero-padded shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int):
        super().__init__()
        out_channels = width * self.expansion
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn4 = nn.BatchNorm2d(out_channels)
        self.shortcut = pooled_identity(stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(out), inplace=True))
        out = self.bn4(self.conv3(F.relu(self.bn3(out), inplace=True)))
        return out + pad_channels(self.shortcut(x), out.shape[1])


PYRAMID_BLOCKS: dict[str, tuple[type[nn.Module], int]] = {
    "basic": (PyramidBasic, 2),
    "bottleneck": (PyramidBottleneck, 3),
}


def pooled_identity(stride: int) -> nn.Module:
    """The shortcut before padding: averages 2 x 2 positions where the branch has stride 2 (rounding odd sizes up)."""
    return nn.Identity() if stride == 1 else nn.AvgPool2d(2, ceil_mode=True)


def pyramidnet(depth: int, alpha: int, block: str = "basic", shortcut: str = "A") -> nn.Sequential:
    """PyramidNet-``depth`` for 32 x 32 images: three stages of n blocks, each block wider by alpha / (3n).

    Widths start at 16 and are rounded. As in :func:`wide_resnet`, the tap after ``layer2`` sees the sum
    before the next block's BN, and the final BN-ReLU belongs to ``layer3``.

    Args:
        depth: 6n + 2 with ``block="basic"``, 9n + 2 with ``block="bottleneck"``.
        alpha: how much wider the last block is than the stem.
        block: ``"basic"`` or ``"bottleneck"``. The name "PyramidNet-110-270" is in use for both.
        shortcut: only ``"A"`` (zero padding) exists.

    Images (B, 3, H, W) become features (B, C, H/4, W/4) with C = 16 + alpha, times 4 for bottlenecks.
    """
    found = f"{block!r} and {shortcut!r}"
    expected = f"block to be one of {sorted(PYRAMID_BLOCKS)} and shortcut 'A' (zero padding) for a PyramidNet"
    _expect(block in PYRAMID_BLOCKS and shortcut == "A", expected, found, quote=False)
    block_class, layers = PYRAMID_BLOCKS[block]
    blocks = _blocks_per_stage(depth, 3 * layers, 2, f"{block} blocks")
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))
    exact = list(accumulate([alpha / (3 * blocks)] * (3 * blocks), initial=16.0))[1:]
    widths = [[round(width) for width in exact[begin : begin + blocks]] for begin in range(0, 3 * blocks, blocks)]
    return _three_stages(stem, widths, block_class)


LARGEST = 2000  # layers, or factor of the widths
IMAGENET_RESNETS = dict.fromkeys(("resnet18", "resnet34"), "basic")
IMAGENET_RESNETS |= dict.fromkeys(("resnet50", "resnet101", "resnet152"), "bottleneck")


def imagenet_resnet(name: str, block: str | None = None, shortcut: str = "B") -> nn.Sequential:
    """A ResNet for 224 x 224 images (Section 4.2): torchvision's, with random weights, up to its last feature map.

    Images (B, 3, H, W) become features (B, C, H/32, W/32) with C = 512 (ResNet-18 and 34) or 2048: 7 x 7 maps of 224
    pixels.
    """
    from torchvision import models  # here, because it takes a second that the other backbones need not wait

    expected = IMAGENET_RESNETS[name]
    if block not in (None, expected) or shortcut != "B":
        raise ValueError(f"expected block {expected!r} and shortcut 'B' for {name}, found {block!r} and {shortcut!r}")
    names = {"maxpool": "stem", **{f"layer{number}": f"layer{number}" for number in (1, 2, 3, 4)}}
    return as_stages(getattr(models, name)(weights=None), names)


def backbone(name: str, **options: Any) -> nn.Sequential:
    """A backbone by the name that the paper uses: ``backbone("resnet110", block="basic", shortcut="A")``.

    Args:
        name: ``resnet<depth>`` for small images, such as ``resnet20``, ``resnet56``, ``resnet110``, ``resnet164``;
            ``wrn<depth>-<factor>``, such as ``wrn28-10``; ``pyramidnet<depth>-<alpha>``, such as ``pyramidnet110-270``;
            and ``resnet18``, ``34``, ``50``, ``101`` and ``152``, which always mean ImageNet's networks. ValueError for
            any other, or a depth that does not fit the block.
        options: see :func:`cifar_resnet`, :func:`wide_resnet`, :func:`pyramidnet` and :func:`imagenet_resnet`. Without
            ``block``, ResNets of the paper's depths (56 and more) have bottlenecks and smaller ones basic blocks.
    """
    # `fsft verify` builds whatever network a result file from elsewhere names.
    if max(map(int, re.findall(r"\d+", name)), default=0) > LARGEST:
        raise ValueError(f"expected at most {LARGEST} layers, and no larger factor, found {name!r}")
    if name in IMAGENET_RESNETS:
        return imagenet_resnet(name, **options)
    if match := re.fullmatch(r"wrn(\d+)-(\d+)", name):
        return wide_resnet(int(match[1]), int(match[2]), **options)
    if match := re.fullmatch(r"pyramidnet(\d+)-(\d+)", name):
        return pyramidnet(int(match[1]), int(match[2]), **options)
    if match := re.fullmatch(r"resnet(\d+)", name):
        depth = int(match[1])
        return cifar_resnet(depth, **{"block": "bottleneck" if depth >= 56 else "basic", **options})
    raise ValueError(
        "expected a backbone named resnet<depth>, wrn<depth>-<factor> or pyramidnet<depth>-<alpha>, "
        f"such as resnet110, found {name!r}"
    )


def _expect(condition: bool, expected: str, found: str, quote: bool = True) -> None:
    if not condition:
        raise ValueError(f"expected {expected}, found {found!r}" if quote else f"expected {expected}, found {found}")


def _blocks_per_stage(depth: int, step: int, extra: int, what: str) -> int:
    """n of a network with ``step * n + extra`` layers; ValueError where there is none."""
    blocks, rest = divmod(depth - extra, step)
    if rest or blocks < 1:
        below = max(1, blocks) * step + extra
        nearest = f"the nearest are {below} and {below + step}"
        raise ValueError(f"expected a depth of {step}n + {extra} for {what}, found {depth}; {nearest}")
    return blocks


def _three_stages(
    stem: nn.Module, widths: list[list[int]], block: Callable[..., Any], *, final_norm: bool = True
) -> nn.Sequential:
    """Stem and stages, initialized, from the widths of the blocks of each; the second and third begin with stride 2.

    With ``final_norm`` the network ends in the BN-ReLU of its last sum, as pre-activation networks do.
    """
    network, channels = nn.Sequential(OrderedDict(stem=stem)), 16
    for number, of_stage in enumerate(widths, start=1):
        stage = nn.Sequential()
        for place, width in enumerate(of_stage):
            made = block(channels, width, stride=2 if number > 1 and place == 0 else 1)
            channels = width * made.expansion
            stage.append(made)
        network.add_module(f"layer{number}", stage)
    if final_norm:
        stage.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
    return network.apply(he_initialization)
