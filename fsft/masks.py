"""Masks on feature maps: the pretext task of FSFT (Section 3.1, eq. 1, Figure 2; Appendix B, segment 1).

A transform t_j multiplies a feature map with a binary mask M_j. The paper uses T = 4 masks, each dropping one
quadrant, and M_0 = 1, the untouched map. With M = T + 1 masks, N classes become M * N joint classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def quadrant_masks(height: int, width: int) -> Tensor:
    """The five masks of the paper: nothing dropped, then the upper-left, upper-right, lower-left, lower-right quadrant.

    A quadrant's side is ``size // 2`` as in Appendix B, so on an odd map (7 x 7 in ResNet-50) the upper and left
    quadrants are one row or column smaller. The four dropped parts always add up to the whole map:
    ``f = sum_j (f - f * M_j)``, the identity below eq. 1.

    Args:
        height, width: spatial size of the feature map in positions, at least 2 each.

    Returns:
        float32 tensor of shape (5, height, width) with values 0 and 1.

    Raises:
        ValueError: a map with a side of 1, of which some masks would drop nothing and others everything.
    """
    if height < 2 or width < 2:
        raise ValueError(
            f"expected a feature map of at least 2 x 2 places, one for each quadrant, found {height} x {width}: "
            "tap an earlier stage, or use larger images"
        )
    masks = torch.ones(5, height, width)
    top, bottom = slice(0, height // 2), slice(height // 2, height)
    left, right = slice(0, width // 2), slice(width // 2, width)
    for mask, rows, columns in zip(masks[1:], (top, top, bottom, bottom), (left, right, left, right), strict=True):
        mask[rows, columns] = 0
    return masks


def no_masks(height: int, width: int) -> Tensor:
    """M_0 alone, which keeps everything: float32 ones of shape (1, height, width)."""
    return torch.ones(1, height, width)


def half_masks(height: int, width: int) -> Tensor:
    """Nothing dropped, then the upper, lower, left, right half: (5, height, width). Beyond the paper (chapter 14)."""
    upper_left, upper_right, lower_left, lower_right = quadrant_masks(height, width)[1:]
    halves = (upper_left * upper_right, lower_left * lower_right, upper_left * lower_left, upper_right * lower_right)
    return torch.stack((torch.ones(height, width), *halves))


def kept_quadrant_masks(height: int, width: int) -> Tensor:
    """Nothing dropped, then everything but one quadrant, in the paper's order: (5, height, width). Beyond the paper."""
    return torch.cat((torch.ones(1, height, width), 1 - quadrant_masks(height, width)[1:]))


def ninth_masks(height: int, width: int) -> Tensor:
    """Nothing dropped, then each cell of a 3 x 3 grid, row by row: (10, height, width). Beyond the paper.

    Where 3 does not divide a side, cells differ by one position.

    Raises:
        ValueError: a map with a side below 3.
    """
    if min(height, width) < 3:
        raise ValueError(
            f"expected a feature map of at least 3 x 3 places, one for each cell, found {height} x {width}: "
            "tap an earlier stage, or use larger images"
        )
    masks = torch.ones(10, height, width)
    for cell, mask in enumerate(masks[1:]):
        row, column = divmod(cell, 3)
        mask[row * height // 3 : (row + 1) * height // 3, column * width // 3 : (column + 1) * width // 3] = 0
    return masks


def checkerboard_masks(height: int, width: int) -> Tensor:
    """Nothing dropped, then every other position, and the others: (3, height, width). Beyond the paper.

    What is dropped is half of the map, but no region of it.
    """
    dark = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    return torch.stack((torch.ones(height, width), dark.float(), 1 - dark.float()))


mask_families: dict[str, Callable[[int, int], Tensor]] = {
    "quadrants": quadrant_masks,
    "none": no_masks,
    "checkerboard": checkerboard_masks,
    "halves": half_masks,
    "kept-quadrants": kept_quadrant_masks,
    "ninths": ninth_masks,
}
"""The sets of masks that a recipe can name; ``quadrants`` is the paper's, chapter 14 compares the others with it."""


def apply_masks(features: Tensor, masks: Tensor) -> Tensor:
    """Eq. 1, written out: every feature map once under every mask.

    Use it where convolutions follow the masks (the "Trans after" rows of Table 5). Where only a global average
    pooling follows, :func:`masked_average_pool` gives the pooled result without building these copies.

    Args:
        features: (B, C, H, W), any floating dtype.
        masks: (M, H, W).

    Returns:
        (B, M, C, H, W), in the dtype of ``features``.
    """
    _check_shapes(features, masks)
    return features[:, None] * masks.to(features.dtype)[None, :, None]


def masked_average_pool(features: Tensor, masks: Tensor) -> Tensor:
    """Global average pooling of every masked copy: ``apply_masks(features, masks).mean((-2, -1))``, in one product.

    The average of f * M_j over all H * W positions is linear in f, so all M pooled vectors are one matrix product of
    the features with the masks. The masked copies are never built; for the backward pass autograd keeps the masks
    and nothing of the size of the features. The average runs over all positions, dropped ones included, as in
    Appendix B, segment 2.

    Args:
        features: (B, C, H, W), any floating dtype.
        masks: (M, H, W).

    Returns:
        (B, M, C), in the dtype of ``features`` (or of the active autocast).
    """
    _check_shapes(features, masks)
    sums = features.flatten(2) @ masks.to(features.dtype).flatten(1).T
    # Divided afterwards: 1 / (H * W) has no exact value in bf16 unless it is a power of two.
    return sums.transpose(1, 2) / masks[0].numel()


def joint_labels(labels: Tensor, num_transforms: int) -> Tensor:
    """Joint labels (y, j) numbered ``y * M + j``, the order of Appendix B, segment 3.

    With M = 5, an image of class 2 has the joint labels 10, 11, 12, 13, 14: untouched, then without each quadrant.

    Args:
        labels: (B,) integer class labels.
        num_transforms: M = T + 1, the untouched map counted.

    Returns:
        (B, M) integer labels in ``[0, N * M)``.
    """
    if num_transforms < 1:
        raise ValueError(f"expected at least one transform (the untouched map), found {num_transforms}")
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(
            f"expected integer class labels of shape (B,), found {labels.dtype} of shape {tuple(labels.shape)}"
        )
    # As int64: narrower types would wrap around.
    return labels.long()[:, None] * num_transforms + torch.arange(num_transforms, device=labels.device)


def _check_shapes(features: Tensor, masks: Tensor) -> None:
    if features.ndim != 4 or masks.ndim != 3 or features.shape[2:] != masks.shape[1:]:
        raise ValueError(
            "expected features (B, C, H, W) and masks (M, H, W) of the same H and W, "
            f"found features {tuple(features.shape)} and masks {tuple(masks.shape)}"
        )
