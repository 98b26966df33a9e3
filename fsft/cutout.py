"""Cutout (DeVries and Taylor, 2017), for Table 2: one square hole in each training image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fsft.augment import raw_draws

STREAM = 3  # of an epoch's random numbers; fsft.augment has 0 to 2


def cutout_centers(num_images: int, height: int, width: int, seed: int, epoch: int) -> Tensor:
    """Draw the centers of an epoch's holes, uniform over all pixels, as a pure function of (seed, epoch).

    Returns:
        int64 (num_images, 2), row and column, on the CPU. Row ``i`` belongs to the i-th sample seen.
    """
    high = raw_draws(seed, epoch, STREAM, 2 * num_images).reshape(num_images, 2) >> np.uint64(32)
    size = np.array([height, width], dtype=np.uint64)
    return torch.from_numpy(((high * size) >> np.uint64(32)).astype(np.int64))


def cutout(images: Tensor, centers: Tensor, length: int = 8) -> Tensor:
    """Set a square of ``length`` pixels around each image's center to zero, clipped at the border.

    A center near the border leaves a smaller hole, so the pixels there are dropped less often. The authors apply it
    after normalization, where zero is the mean color, and use a length of 8 on CIFAR-100 (16 on CIFAR-10).

    Args:
        images: (B, C, H, W), normalized.
        centers: int64 (B, 2), row and column. With an even length, a hole begins length / 2 pixels before its center.
        length: side of the hole in pixels.

    Returns:
        (B, C, H, W), new.
    """
    if images.ndim != 4 or centers.shape != (len(images), 2):
        found = f"{tuple(images.shape)} and {tuple(centers.shape)}"
        raise ValueError(f"expected images (B, C, H, W) and centers (B, 2), found {found}")
    first = centers - length // 2
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[2:])
    in_rows = (rows >= first[:, :1]) & (rows < first[:, :1] + length)
    in_columns = (columns >= first[:, 1:]) & (columns < first[:, 1:] + length)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images * (~hole).to(images.dtype)  # masked_fill would lose channels_last
