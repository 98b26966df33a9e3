"""PyramidNets (Han et al., 2017), such as PyramidNet-110 with alpha = 270 of Table 1."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fsft.stages import he_initialization, pad_channels


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


BLOCKS: dict[str, tuple[type[PyramidBasic] | type[PyramidBottleneck], int]] = {
    "basic": (PyramidBasic, 2),
    "bottleneck": (PyramidBottleneck, 3),
}


def pooled_identity(stride: int) -> nn.Module:
    """The shortcut before padding: averages 2 x 2 positions where the branch has stride 2 (rounding odd sizes up)."""
    return nn.Identity() if stride == 1 else nn.AvgPool2d(2, ceil_mode=True)


def pyramidnet(depth: int, alpha: int, block: str = "basic", shortcut: str = "A") -> nn.Sequential:
    """PyramidNet-``depth`` for 32 x 32 images: three stages of n blocks, each block wider by alpha / (3n).

    Widths start at 16 and are rounded. As in :func:`fsft.wide.wide_resnet`, the tap after ``layer2`` sees the sum
    before the next block's BN, and the final BN-ReLU belongs to ``layer3``.

    Args:
        depth: 6n + 2 with ``block="basic"``, 9n + 2 with ``block="bottleneck"``.
        alpha: how much wider the last block is than the stem.
        block: ``"basic"`` or ``"bottleneck"``. The name "PyramidNet-110-270" is in use for both.
        shortcut: only ``"A"`` (zero padding) exists.

    Returns:
        ``nn.Sequential`` with children ``stem, layer1, layer2, layer3``: images (B, 3, H, W) to features
        (B, C, H/4, W/4) with C = 16 + alpha, times 4 for bottlenecks.
    """
    if block not in BLOCKS or shortcut != "A":
        raise ValueError(
            f"expected block to be one of {sorted(BLOCKS)} and shortcut 'A' (zero padding) for a PyramidNet, "
            f"found {block!r} and {shortcut!r}"
        )
    block_class, layers_per_block = BLOCKS[block]
    blocks_per_stage, rest = divmod(depth - 2, 3 * layers_per_block)
    if rest or blocks_per_stage < 1:
        step = 3 * layers_per_block
        raise ValueError(f"expected a depth of {step}n + 2 for {block} blocks, found pyramidnet{depth}-{alpha}")
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)))
    channels, exact_width = 16, 16.0
    for number in (1, 2, 3):
        stage = nn.Sequential()
        for index in range(blocks_per_stage):
            exact_width += alpha / (3 * blocks_per_stage)
            stage.append(block_class(channels, round(exact_width), 2 if number > 1 and index == 0 else 1))
            channels = round(exact_width) * block_class.expansion
        network.add_module(f"layer{number}", stage)
    stage.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
    network.apply(he_initialization)
    return network
