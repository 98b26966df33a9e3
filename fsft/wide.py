"""Wide ResNets (Zagoruyko and Komodakis, 2016), such as WRN-28-10 of Table 1."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from fsft.stages import he_initialization


class WideBlock(nn.Module):
    """Pre-activation basic block: BN-ReLU-conv, BN-ReLU-dropout-conv, and a shortcut.

    Where the width changes, the shortcut is a 1 x 1 convolution of the activated input, which both share.
    """

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

    Returns:
        ``nn.Sequential`` with children ``stem, layer1, layer2, layer3``: images (B, 3, H, W) to features
        (B, 64 * widen, H/4, W/4).
    """
    if block != "basic" or shortcut != "B":
        raise ValueError(f"expected block 'basic' and shortcut 'B' for a Wide ResNet, found {block!r} and {shortcut!r}")
    blocks_per_stage, rest = divmod(depth - 4, 6)
    if rest or blocks_per_stage < 1 or widen < 1:
        raise ValueError(f"expected a depth of 6n + 4 and a factor of at least 1, found wrn{depth}-{widen}")
    network = nn.Sequential()
    network.add_module("stem", nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False)))
    channels = 16
    for number, width in enumerate((16 * widen, 32 * widen, 64 * widen), start=1):
        strides = [1 if number == 1 else 2] + [1] * (blocks_per_stage - 1)
        stage = nn.Sequential()
        for stride in strides:
            stage.append(WideBlock(channels, width, stride, dropout))
            channels = width
        network.add_module(f"layer{number}", stage)
    stage.extend([nn.BatchNorm2d(channels), nn.ReLU(inplace=True)])
    network.apply(he_initialization)
    return network
