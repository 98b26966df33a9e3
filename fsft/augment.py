"""Augmentation of whole batches on the device: crop, flip, Cutout, Mixup, and SLA's rotations (Table 2).

All draws of an epoch are made in advance on the CPU, as a pure function of (seed, epoch): the same on every device,
independent of the batch size, and repeatable when a run resumes in the middle of an epoch. Step ``k`` uses slice ``k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import betaincinv
from torch import Tensor

# Each kind of draw has a stream of its own: one that is switched off leaves the others as they were.
ORDER, CROP, FLIP, CUTOUT, SHARE, PARTNER = range(6)
PAD = 4  # black pixels around an image before it is cropped
ROTATIONS = 4


class EpochPlan(NamedTuple):
    """The random draws of one epoch.

    ``order`` int64 (n,): indices into the data set. ``shift`` int64 (n, 2): row and column of the crop's upper-left
    corner in the padded image, each in [0, 2 * PAD]. ``flip`` bool (n,): mirror this sample. Row ``i`` belongs to the
    i-th sample *seen*, not to data-set image ``i``.
    """

    order: Tensor
    shift: Tensor
    flip: Tensor

    def batch(self, step: int, batch_size: int) -> EpochPlan:
        """Slice ``step`` (from 0) of the plan; the last may be shorter, and ``IndexError`` beyond it."""
        if not 0 <= step * batch_size < len(self.order):
            raise IndexError(f"step {step} of batch size {batch_size} is outside a plan of {len(self.order)} samples")
        part = slice(step * batch_size, (step + 1) * batch_size)
        return EpochPlan(*(draws[part] for draws in self))


def raw_draws(seed: int, epoch: int, stream: int, count: int) -> np.ndarray:
    """``count`` raw 64-bit draws of a stream of its own.

    NumPy promises that ``SeedSequence`` and the raw output of ``PCG64`` never change; it does not for ``Generator``'s
    methods.
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(epoch, stream))
    return np.asarray(np.random.PCG64(sequence).random_raw(count), dtype=np.uint64)


def below(draws: np.ndarray, limit: int | np.ndarray) -> np.ndarray:
    """Raw draws as whole numbers in [0, limit), int64: their upper 32 bits, scaled."""
    return (((draws >> np.uint64(32)) * np.asarray(limit, np.uint64)) >> np.uint64(32)).astype(np.int64)


def epoch_plan(num_images: int, seed: int, epoch: int, *, crop: bool = True, flip: bool = True) -> EpochPlan:
    """Draw order, crop shifts and flips for one epoch of ``num_images`` samples (on the CPU).

    Switched off means the identity: shift ``PAD`` (the central crop, which is the image itself); no flip.
    """
    if min(num_images, seed, epoch) < 0:
        raise ValueError(f"expected numbers of at least 0, found {num_images} images, seed {seed}, epoch {epoch}")
    order = np.argsort(raw_draws(seed, epoch, ORDER, num_images), kind="stable").astype(np.int64)
    shift = np.full((num_images, 2), PAD, dtype=np.int64)
    if crop:
        shift = below(raw_draws(seed, epoch, CROP, 2 * num_images), 2 * PAD + 1).reshape(num_images, 2)
    mirrored = np.zeros(num_images, dtype=np.bool_)
    if flip:
        mirrored = (raw_draws(seed, epoch, FLIP, num_images) >> np.uint64(63)).astype(np.bool_)
    return EpochPlan(torch.from_numpy(order), torch.from_numpy(shift), torch.from_numpy(mirrored))


def crop(images: Tensor, shift: Tensor) -> Tensor:
    """Cut each image, zero-padded by ``PAD`` pixels on every side, at its own shift.

    (B, C, H, W) -> (B, C, H, W). ``images`` are the raw uint8 pixels: black is padded *before* normalizing, as
    torchvision's ``RandomCrop(H, padding=PAD)`` does. ``shift`` (B, 2) integers in [0, 2 * PAD] on the same device;
    ``PAD`` itself gives the image back.
    """
    if images.ndim != 4 or shift.shape != (len(images), 2):
        found = f"{tuple(images.shape)} and {tuple(shift.shape)}"
        raise ValueError(f"expected images (B, C, H, W) and shift (B, 2), found {found}")
    # Only on the CPU: on a GPU the comparison would make the host wait for the device at every step.
    if shift.device.type == "cpu" and ((shift < 0) | (shift > 2 * PAD)).any():
        raise ValueError(f"expected shifts in [0, {2 * PAD}], found {int(shift.min())} to {int(shift.max())}")
    batch, channels, height, width = images.shape
    padded = F.pad(images, (PAD,) * 4)
    rows, columns = padded.shape[2:]
    # Every output row is `width` consecutive bytes of the padded batch: gathering rows is several times faster than
    # gathering pixels.
    corner = torch.arange(batch * channels, device=images.device).view(batch, channels) * (rows * columns)
    corner = corner + (shift[:, 0] * columns + shift[:, 1])[:, None]
    first = corner[:, :, None] + torch.arange(height, device=images.device) * columns
    return padded.flatten().unfold(0, width, 1).index_select(0, first.flatten()).view(images.shape)


def flip(images: Tensor, flags: Tensor) -> Tensor:
    """Mirror left-right the images (B, C, H, W) whose flag in ``flags`` bool (B,) is set."""
    if images.ndim != 4 or flags.shape != (len(images),) or flags.dtype != torch.bool:
        found = f"{tuple(images.shape)} and {flags.dtype} {tuple(flags.shape)}"
        raise ValueError(f"expected images (B, C, H, W) and bool flags (B,), found {found}")
    # Choosing whole images from both versions copies memory in long runs; torch.where, pixel by pixel, is
    # several times slower.
    index = torch.arange(len(images), device=images.device) + len(images) * flags
    return torch.cat((images, images.flip(-1))).index_select(0, index)


def normalize(
    images: Tensor, mean: Tensor | Sequence[float], std: Tensor | Sequence[float], *, channels_last: bool = False
) -> Tensor:
    """``(images / 255 - mean) / std`` per channel: uint8 (B, C, H, W) -> float32 (B, C, H, W).

    ``mean`` and ``std`` (C,) are in units where white is 1. Pass them as tensors on the images' device inside a loop: a
    list is copied there on every call. ``channels_last`` sets the memory format of the result.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"expected uint8 images (B, C, H, W), found {images.dtype} {tuple(images.shape)}")
    mean = torch.as_tensor(mean, dtype=torch.float32, device=images.device)
    std = torch.as_tensor(std, dtype=torch.float32, device=images.device)
    if not mean.shape == std.shape == (images.shape[1],):
        found = f"{tuple(mean.shape)} and {tuple(std.shape)}"
        raise ValueError(f"expected mean and std of shape ({images.shape[1]},), found {found}")
    scale, offset = 1 / (255 * std), mean / std
    values = images.to(torch.float32).mul_(scale[:, None, None]).sub_(offset[:, None, None])
    # The layout is changed last: on the CPU converting uint8 to channels_last floats in one step is three times slower.
    return values.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def cutout_centers(num_images: int, height: int, width: int, seed: int, epoch: int) -> Tensor:
    """Draw the centers of the holes of Cutout (DeVries and Taylor, 2017), uniform over all pixels.

    Int64 (num_images, 2), row and column, on the CPU. Row ``i`` belongs to the i-th sample seen.
    """
    draws = raw_draws(seed, epoch, CUTOUT, 2 * num_images).reshape(num_images, 2)
    return torch.from_numpy(below(draws, np.array([height, width])))


def cutout(images: Tensor, centers: Tensor, length: int = 8) -> Tensor:
    """Set a square of ``length`` pixels around each image's center to zero, clipped at the border.

    A center near the border leaves a smaller hole, so the pixels there are dropped less often. The authors apply it
    after normalization, where zero is the mean color, and use a length of 8 on CIFAR-100 (16 on CIFAR-10). ``centers``
    are int64 (B, 2), row and column: with an even length, a hole begins length / 2 pixels before. The result is new.
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


class MixupPlan(NamedTuple):
    """The random draws of one epoch of Mixup (Zhang et al., 2018): blend each image, and its loss, with another one's.

    With joint labels each of the two losses goes through the same ``y * M + j``, so both keep the index j of the mask:
    the features of a blend are masked like any others.

    ``share`` float32 (steps,): lambda, how much of an image stays; one for each batch. ``partner`` int64
    (steps, batch_size): the position in the batch of the image that is blended in, a permutation of each batch.
    """

    share: Tensor
    partner: Tensor


def mixup_plan(num_steps: int, batch_size: int, seed: int, epoch: int, alpha: float = 1.0) -> MixupPlan:
    """Draw shares from Beta(alpha, alpha) and random partners for one epoch: a pure function of (seed, epoch)."""
    uniform = (raw_draws(seed, epoch, SHARE, num_steps) >> np.uint64(11)) / 2.0**53
    share = betaincinv(alpha, alpha, uniform).astype(np.float32)
    order = raw_draws(seed, epoch, PARTNER, num_steps * batch_size).reshape(num_steps, batch_size)
    partner = np.argsort(order, axis=1, kind="stable").astype(np.int64)
    return MixupPlan(torch.from_numpy(share), torch.from_numpy(partner))


def mixup(images: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """``share * images + (1 - share) * images[partner]``, for normalized images (B, C, H, W) and one share."""
    return torch.lerp(images[partner], images, share)


def four_rotations(images: Tensor) -> Tensor:
    """The transforms of SLA (Lee et al., 2020): every image turned counterclockwise by 0, 90, 180 and 270 degrees.

    Square images (B, C, H, H) become (B, 4, C, H, H). With joint labels ``y * 4 + k``, as :func:`fsft.joint_labels`
    numbers them, this is SLA with R = 4.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise ValueError(f"expected square images (B, C, H, H), found shape {tuple(images.shape)}")
    return torch.stack([images.rot90(turns, (2, 3)) for turns in range(ROTATIONS)], 1)
