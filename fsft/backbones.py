"""Backbones as named stages, so that FSFT can tap the feature map after any of them (Sections 4.1 and 4.2).

A backbone is an ``nn.Sequential`` of ``stem, layer1, layer2, ...``; pooling and classifiers belong to the networks in
:mod:`fsft.framework`. "ResNet-110" names two different networks in the literature, with basic blocks (6n + 2 layers)
or bottlenecks (9n + 2); the paper does not say which it used, so ``block`` is a visible argument.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fsft.pyramid import pyramidnet
from fsft.stages import as_stages, he_initialization, pad_channels
from fsft.stages import feature_shapes as feature_shapes
from fsft.wide import wide_resnet


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


BLOCKS: dict[str, tuple[type[BasicBlock | Bottleneck], int]] = {"basic": (BasicBlock, 2), "bottleneck": (Bottleneck, 3)}


def cifar_resnet(depth: int, block: str, shortcut: str = "B") -> nn.Sequential:
    """A ResNet for 32 x 32 images (He et al., 2016, Section 4.2): three stages of n blocks, widths 16, 32 and 64.

    Args:
        depth: 6n + 2 with ``block="basic"``, 9n + 2 with ``block="bottleneck"``.
        block: ``"basic"`` or ``"bottleneck"``. The paper's memory column fits the bottleneck.
        shortcut: ``"A"`` (zero padding) or ``"B"`` (projection) where the shape changes.

    Returns:
        ``nn.Sequential`` with children ``stem, layer1, layer2, layer3``: images (B, 3, H, W) to features
        (B, C, H/4, W/4) with C = 64 (basic) or 256 (bottleneck). Convolutions have He initialization.
    """
    if block not in BLOCKS:
        raise ValueError(f"expected block to be one of {sorted(BLOCKS)}, found {block!r}")
    if shortcut not in SHORTCUTS:
        raise ValueError(f"expected shortcut to be one of {sorted(SHORTCUTS)}, found {shortcut!r}")
    block_class, layers_per_block = BLOCKS[block]
    blocks_per_stage, rest = divmod(depth - 2, 3 * layers_per_block)
    if rest or blocks_per_stage < 1:
        step = 3 * layers_per_block
        below = max(1, (depth - 2) // step) * step + 2
        raise ValueError(
            f"expected a depth of {step}n + 2 for {block} blocks, found {depth}; "
            f"the nearest are {below} and {below + step}"
        )
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["stem"] = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
    )
    channels = 16
    for number, width in enumerate((16, 32, 64), start=1):
        blocks = []
        for index in range(blocks_per_stage):
            stride = 2 if number > 1 and index == 0 else 1
            blocks.append(block_class(channels, width, stride, shortcut))
            channels = width * block_class.expansion
        stages[f"layer{number}"] = nn.Sequential(*blocks)
    network = nn.Sequential(stages)
    network.apply(he_initialization)
    return network


IMAGENET_RESNETS = {
    "resnet18": "basic",
    "resnet34": "basic",
    "resnet50": "bottleneck",
    "resnet101": "bottleneck",
    "resnet152": "bottleneck",
}


def imagenet_resnet(name: str, block: str | None = None, shortcut: str = "B") -> nn.Sequential:
    """A ResNet for 224 x 224 images (Section 4.2): torchvision's, with random weights, up to its last feature map.

    Returns:
        ``nn.Sequential`` with children ``stem, layer1, ..., layer4``: images (B, 3, H, W) to features
        (B, C, H/32, W/32) with C = 512 (ResNet-18 and 34) or 2048; 224 pixels give 7 x 7 maps.
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
            and ``resnet18``, ``34``, ``50``, ``101`` and ``152``, which always mean ImageNet's networks.
        options: see :func:`cifar_resnet`, :func:`fsft.wide.wide_resnet`, :func:`fsft.pyramid.pyramidnet` and
            :func:`imagenet_resnet`. Without ``block``, ResNets of the paper's depths (56 and more) have bottlenecks and
            smaller ones basic blocks.

    Raises:
        ValueError: unknown name, or a depth that does not fit the block.
    """
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
