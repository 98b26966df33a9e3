"""Random crop and flip of whole batches on the device, with all draws of an epoch made in advance on the CPU.

The draws of an epoch are a pure function of (seed, epoch): the same on every device, independent of the batch
size, and repeatable when a run resumes in the middle of an epoch. Step ``k`` uses slice ``k`` of the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """The random draws of one epoch.

    ``order`` int64 (n,): indices into the data set. ``shift`` int64 (n, 2): row and column of the crop's
    upper-left corner in the padded image, each in [0, 2 * pad]. ``flip`` bool (n,): mirror this sample. Row
    ``i`` belongs to the i-th sample *seen*, not to data-set image ``i``.
    """

    order: Tensor
    shift: Tensor
    flip: Tensor

    def __len__(self) -> int:
        return len(self.order)

    def to(self, device: torch.device | str) -> EpochPlan:
        """The same plan on ``device``; one transfer per field, so no step of the epoch needs another."""
        return EpochPlan(self.order.to(device), self.shift.to(device), self.flip.to(device))

    def batch(self, step: int, batch_size: int) -> EpochPlan:
        """Slice ``step`` (from 0) of the plan; the last may be shorter, and ``IndexError`` beyond it."""
        if not 0 <= step * batch_size < len(self):
            raise IndexError(f"step {step} of batch size {batch_size} is outside a plan of {len(self)} samples")
        part = slice(step * batch_size, (step + 1) * batch_size)
        return EpochPlan(self.order[part], self.shift[part], self.flip[part])


def raw_draws(seed: int, epoch: int, stream: int, count: int) -> np.ndarray:
    """``count`` raw 64-bit draws of a stream of its own.

    NumPy promises that ``SeedSequence`` and the raw output of ``PCG64`` never change; it does not for
    ``Generator``'s methods.
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(epoch, stream))
    return np.asarray(np.random.PCG64(sequence).random_raw(count), dtype=np.uint64)


def epoch_plan(
    num_images: int,
    seed: int,
    epoch: int,
    pad: int = 4,
    *,
    shuffle: bool = True,
    crop: bool = True,
    flip: bool = True,
) -> EpochPlan:
    """Draw order, crop shifts and flips for one epoch of ``num_images`` samples (on the CPU).

    The three come from separate streams, so switching one off leaves the others as they were. Switched off
    means the identity: order 0, 1, ...; shift ``pad`` (the central crop, which is the image itself); no flip.
    """
    if num_images < 0 or pad < 0:
        raise ValueError(f"expected num_images >= 0 and pad >= 0, found {num_images} and {pad}")
    if seed < 0 or epoch < 0:
        raise ValueError(f"expected seed >= 0 and epoch >= 0, found {seed} and {epoch}")
    order = np.arange(num_images, dtype=np.int64)
    if shuffle:
        order = np.argsort(raw_draws(seed, epoch, 0, num_images), kind="stable").astype(np.int64)
    shift = np.full((num_images, 2), pad, dtype=np.int64)
    if crop:
        high = raw_draws(seed, epoch, 1, 2 * num_images) >> np.uint64(32)
        shift = ((high * np.uint64(2 * pad + 1)) >> np.uint64(32)).astype(np.int64).reshape(num_images, 2)
    mirrored = np.zeros(num_images, dtype=np.bool_)
    if flip:
        mirrored = (raw_draws(seed, epoch, 2, num_images) >> np.uint64(63)).astype(np.bool_)
    return EpochPlan(torch.from_numpy(order), torch.from_numpy(shift), torch.from_numpy(mirrored))


def crop(images: Tensor, shift: Tensor, pad: int = 4) -> Tensor:
    """Cut each image, zero-padded by ``pad`` pixels on every side, at its own shift.

    (B, C, H, W) -> (B, C, H, W). ``images`` are the raw uint8 pixels: black is padded *before* normalizing,
    as torchvision's ``RandomCrop(H, padding=pad)`` does. ``shift`` (B, 2) integers in [0, 2 * pad] on the
    same device; ``pad`` itself gives the image back.
    """
    if images.ndim != 4 or shift.shape != (len(images), 2):
        found = f"{tuple(images.shape)} and {tuple(shift.shape)}"
        raise ValueError(f"expected images (B, C, H, W) and shift (B, 2), found {found}")
    # Only on the CPU: on a GPU the comparison would make the host wait for the device at every step.
    if shift.device.type == "cpu" and ((shift < 0) | (shift > 2 * pad)).any():
        raise ValueError(f"expected shifts in [0, {2 * pad}], found {int(shift.min())} to {int(shift.max())}")
    batch, channels, height, width = images.shape
    padded = F.pad(images, (pad, pad, pad, pad))
    rows, columns = padded.shape[2:]
    # Every output row is `width` consecutive bytes of the padded batch: gathering whole rows is several times
    # faster than pixels.
    corner = torch.arange(batch * channels, device=images.device).view(batch, channels) * (rows * columns)
    corner = corner + (shift[:, 0] * columns + shift[:, 1])[:, None]
    first = corner[:, :, None] + torch.arange(height, device=images.device) * columns
    return padded.flatten().unfold(0, width, 1).index_select(0, first.flatten()).view(images.shape)


def flip(images: Tensor, flags: Tensor) -> Tensor:
    """Mirror left-right the images (B, C, H, W) whose flag in ``flags`` bool (B,) is set."""
    if images.ndim != 4 or flags.shape != (len(images),) or flags.dtype != torch.bool:
        raise ValueError(
            f"expected images (B, C, H, W) and bool flags (B,), found {tuple(images.shape)} and "
            f"{flags.dtype} {tuple(flags.shape)}"
        )
    # Choosing whole images from both versions copies memory in long runs; torch.where, pixel by pixel, is
    # several times slower.
    index = torch.arange(len(images), device=images.device) + len(images) * flags
    return torch.cat((images, images.flip(-1))).index_select(0, index)


def normalize(
    images: Tensor,
    mean: Tensor | Sequence[float],
    std: Tensor | Sequence[float],
    dtype: torch.dtype = torch.float32,
    *,
    channels_last: bool = False,
) -> Tensor:
    """``(images / 255 - mean) / std`` per channel: uint8 (B, C, H, W) -> ``dtype`` (B, C, H, W).

    ``mean`` and ``std`` (C,) are in units where white is 1. Pass them as tensors on the images' device inside
    a loop: a list is copied there on every call. Computed in float32 whatever ``dtype``; ``channels_last``
    sets the memory format of the result.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"expected uint8 images (B, C, H, W), found {images.dtype} {tuple(images.shape)}")
    mean = torch.as_tensor(mean, dtype=torch.float32, device=images.device)
    std = torch.as_tensor(std, dtype=torch.float32, device=images.device)
    if not mean.shape == std.shape == (images.shape[1],):
        found = f"{tuple(mean.shape)} and {tuple(std.shape)}"
        raise ValueError(f"expected mean and std of shape ({images.shape[1]},), found {found}")
    scale, offset = 1 / (255 * std), mean / std
    values = images.to(torch.float32).mul_(scale[:, None, None]).sub_(offset[:, None, None]).to(dtype)
    # The layout is changed last: on the CPU converting uint8 to channels_last floats in one step is three
    # times slower.
    return values.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
