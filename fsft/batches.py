"""Training batches on the device, augmented as the recipe says; all draws are a pure function of (seed, epoch)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from fsft import augment
from fsft.cutout import cutout, cutout_centers
from fsft.mixing import mixup, mixup_plan
from fsft.recipe import Recipe


class Batch(NamedTuple):
    """A training batch.

    Attributes:
        images: float32 (B, 3, H, W), augmented, normalized, channels last.
        targets: pairs of labels (B,) and the share that they have in the loss; the shares add up to one. Two pairs
            where images are mixed, otherwise one.
    """

    images: Tensor
    targets: tuple[tuple[Tensor, Tensor | float], ...]


class EpochBatches:
    """The batches of one epoch. An incomplete last one is left out.

    Args:
        recipe: ``augment``, ``batch_size``, and the augmentations' settings.
        images, labels: uint8 (n, 3, H, W) and int64 (n,), whole and on the device.
        statistics: mean and standard deviation (3,) of the images, on the device.
        seed, epoch: decide order and draws.
    """

    def __init__(
        self, recipe: Recipe, images: Tensor, labels: Tensor, statistics: tuple[Tensor, Tensor], seed: int, epoch: int
    ):
        self.recipe, self.images, self.labels, self.statistics = recipe, images, labels, statistics
        self.steps = len(images) // recipe.batch_size
        self.plan = augment.epoch_plan(
            len(images), seed, epoch, crop="crop" in recipe.augment, flip="flip" in recipe.augment
        ).to(images.device)
        self.centers = self.mixing = None
        if "cutout" in recipe.augment:
            height, width = images.shape[2:]
            self.centers = cutout_centers(len(images), height, width, seed, epoch).to(images.device)
        if "mixup" in recipe.augment:
            self.mixing = mixup_plan(self.steps, recipe.batch_size, seed, epoch, recipe.mixup_alpha).to(images.device)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        """Batch ``step``, from 0."""
        if not 0 <= step < self.steps:
            raise IndexError(f"expected a step in [0, {self.steps}), found {step}")
        size = self.recipe.batch_size
        draws = self.plan.batch(step, size)
        x = augment.flip(augment.crop(self.images.index_select(0, draws.order), draws.shift), draws.flip)
        x = augment.normalize(x, *self.statistics, channels_last=True)
        labels = self.labels[draws.order]
        if self.centers is not None:
            x = cutout(x, self.centers[step * size : (step + 1) * size], self.recipe.cutout_length)
        if self.mixing is None:
            return Batch(x, ((labels, 1.0),))
        share, partner = self.mixing.share[step], self.mixing.partner[step]
        return Batch(mixup(x, partner, share), ((labels, share), (labels[partner], 1 - share)))
