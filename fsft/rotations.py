"""Rotations of the input, the transforms of SLA (Lee et al., 2020): what masks are to features, one level earlier."""

from __future__ import annotations

import torch
from torch import Tensor

ROTATIONS = 4


def four_rotations(images: Tensor) -> Tensor:
    """Every image turned counterclockwise by 0, 90, 180 and 270 degrees.

    With joint labels ``y * 4 + k``, as :func:`fsft.joint_labels` numbers them, this is SLA with R = 4.

    Args:
        images: (B, C, H, W) with H = W.

    Returns:
        (B, 4, C, H, W).
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"expected square images (B, C, H, H), found shape {tuple(images.shape)}")
    return torch.stack([images.rot90(turns, (2, 3)) for turns in range(ROTATIONS)], 1)
