"""Masks on feature maps: the pretext task of FSFT (Section 3.1, eq. 1, Figure 2; Appendix B, segment 1).

A transform t_j multiplies a feature map with a binary mask M_j. The paper uses T = 4 masks, each dropping one
quadrant, and M_0 = 1, the untouched map. With M = T + 1 masks, N classes become M * N joint classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def quadrant_masks(height: int, width: int) -> Tensor:
    """The five masks of the paper: nothing dropped, then the upper-left, upper-right, lower-left, lower-right quadrant.

    A quadrant's side is ``size // 2`` as in Appendix B, so on an odd map (7 x 7 in ResNet-50) the upper and left
    quadrants are one row or column smaller. The four dropped parts always add up to the whole map:
    ``f = sum_j (f - f * M_j)``, the identity below eq. 1. Zeros and ones, float32 (5, height, width). ValueError for a
    map with a side of 1, of which some masks would drop nothing, and others everything.
    """
    return _grid_masks(height, width, 2)


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
    """Nothing dropped, then each cell of a 3 x 3 grid, row by row: (10, height, width). Beyond the paper."""
    return _grid_masks(height, width, 3)


def checkerboard_masks(height: int, width: int) -> Tensor:
    """Nothing dropped, then every other position, and the others: (3, height, width). Beyond the paper.

    What is dropped is half of the map, but no region of it.
    """
    dark = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    return torch.stack((torch.ones(height, width), dark.float(), 1 - dark.float()))


def _grid_masks(height: int, width: int, side: int) -> Tensor:
    """Nothing dropped, then each cell of a grid; where ``side`` does not divide a size, cells differ by one place."""
    if min(height, width) < side:
        raise ValueError(
            f"expected a feature map of at least {side} x {side} places, one for each part that a mask drops, "
            f"found {height} x {width}: tap an earlier stage, or use larger images"
        )
    masks = torch.ones(side * side + 1, height, width)
    for cell, mask in enumerate(masks[1:]):
        row, column = divmod(cell, side)
        rows = slice(row * height // side, (row + 1) * height // side)
        mask[rows, column * width // side : (column + 1) * width // side] = 0
    return masks


mask_families: dict[str, Callable[[int, int], Tensor]] = {
    "quadrants": quadrant_masks,
    "none": no_masks,
    "checkerboard": checkerboard_masks,
    "halves": half_masks,
    "kept-quadrants": kept_quadrant_masks,
    "ninths": ninth_masks,
}
"""The sets of masks that a recipe can name; ``quadrants`` is the paper's, chapter 14 compares the others with it."""


class SizedMasks(nn.Module):
    """A family's masks (M, H, W) at the size of the features that come, made once for each size; in no checkpoint."""

    def __init__(self, family: Callable[[int, int], Tensor], height: int, width: int):
        super().__init__()
        self.family = family
        self.others: dict[tuple[int, int, torch.device], Tensor] = {}
        self.usual: Tensor  # a buffer, so that it follows .to(device)
        self.register_buffer("usual", self._make(height, width), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[2:]
        if (height, width) == self.usual.shape[1:]:
            return self.usual
        if (size := (height, width, features.device)) not in self.others:
            if torch.compiler.is_compiling():  # a part of the graph, which must not outlive it
                return self.family(height, width).to(features.device)
            with torch.inference_mode(False):  # evaluation has it on, and training could not use such a tensor
                self.others[size] = self._make(height, width).to(features.device)
        return self.others[size]

    def _make(self, height: int, width: int) -> Tensor:
        masks = self.family(height, width)
        if masks.ndim != 3 or masks.shape[1:] != (height, width) or len(masks) == 0:
            raise ValueError(f"expected masks (M, H, W) of {height} x {width}, found {tuple(masks.shape)}")
        # View 0 has to be the whole map, for single inference and the student.
        if not (masks.is_meta or bool((masks[0] == 1).all() and masks.isfinite().all())):
            raise ValueError("expected finite masks whose first keeps everything (M_0 of eq. 1), found others")
        return masks


def apply_masks(features: Tensor, masks: Tensor) -> Tensor:
    """Eq. 1, written out: every feature map (B, C, H, W) under every mask (M, H, W), as (B, M, C, H, W).

    Use it where convolutions follow the masks (the "Trans after" rows of Table 5). Where only a global average
    pooling follows, :func:`masked_average_pool` gives the pooled result without building these copies.
    """
    _check_shapes(features, masks)
    return features[:, None] * masks.to(features.dtype)[None, :, None]


def masked_average_pool(features: Tensor, masks: Tensor) -> Tensor:
    """``apply_masks(features, masks).mean((-2, -1))``, (B, M, C) in the dtype of ``features``, in one matrix product.

    The average of f * M_j over all H * W positions is linear in f, so all M pooled vectors are one matrix product of
    the features with the masks. The masked copies are never built; for the backward pass autograd keeps the masks
    and nothing of the size of the features. The average runs over all positions, dropped ones included, as in
    Appendix B, segment 2.
    """
    _check_shapes(features, masks)
    # By a power of two before, which is exact, so that no sum overflows in fp16; by the rest of H * W afterwards, since
    # its inverse has no exact value in bf16.
    places = masks[0].numel()
    scale = 2.0 ** (places.bit_length() - 1)
    sums = features.flatten(2) @ (masks.to(features.dtype) / scale).flatten(1).T
    return sums.transpose(1, 2) / (places / scale)


def joint_labels(labels: Tensor, num_transforms: int) -> Tensor:
    """Joint labels (y, j) numbered ``y * M + j``, the order of Appendix B, segment 3: (B,) to (B, M) integers.

    With M = ``num_transforms`` = T + 1 = 5, an image of class 2 has the joint labels 10, 11, 12, 13, 14: untouched,
    then without each quadrant.
    """
    if num_transforms < 1:
        raise ValueError(f"expected at least one transform (the untouched map), found {num_transforms}")
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        found = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"expected integer class labels of shape (B,), found {found}")
    # As int64: narrower types would wrap around.
    return labels.long()[:, None] * num_transforms + torch.arange(num_transforms, device=labels.device)


def _check_shapes(features: Tensor, masks: Tensor) -> None:
    if features.ndim != 4 or masks.ndim != 3 or features.shape[2:] != masks.shape[1:]:
        found = f"features {tuple(features.shape)} and masks {tuple(masks.shape)}"
        raise ValueError(f"expected features (B, C, H, W) and masks (M, H, W) of the same H and W, found {found}")
