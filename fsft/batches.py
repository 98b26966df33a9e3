"""Training batches on the device, augmented as the recipe says; all draws are a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from fsft import augment
from fsft.augment import cutout, cutout_centers, mixup, mixup_plan
from fsft.datasets import stream
from fsft.datasets.fileset import FileSet
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


class Finishing:
    """What happens to cropped and flipped images on the device: normalization, Cutout, Mixup.

    Args:
        recipe: ``augment``, ``batch_size``, and the augmentations' settings.
        count, size: number of images in the data set, and their side in pixels.
        statistics: mean and standard deviation (3,) of the images, on the device.
        seed, epoch: decide the draws.
    """

    def __init__(self, recipe: Recipe, count: int, size: int, statistics: tuple[Tensor, Tensor], seed: int, epoch: int):
        self.recipe, self.statistics = recipe, statistics
        self.steps = count // recipe.batch_size
        device = statistics[0].device
        self.centers = self.mixing = None
        if "cutout" in recipe.augment:
            self.centers = cutout_centers(count, size, size, seed, epoch).to(device)
        if "mixup" in recipe.augment:
            self.mixing = mixup_plan(self.steps, recipe.batch_size, seed, epoch, recipe.mixup_alpha).to(device)

    def __call__(self, step: int, images: Tensor, labels: Tensor) -> Batch:
        """Batch ``step`` (from 0) from its uint8 images (B, 3, H, W) and labels (B,), both on the device."""
        size = self.recipe.batch_size
        x = augment.normalize(images, *self.statistics, channels_last=True)
        if self.centers is not None:
            x = cutout(x, self.centers[step * size : (step + 1) * size], self.recipe.cutout_length)
        if self.mixing is None:
            return Batch(x, ((labels, 1.0),))
        share, partner = self.mixing.share[step], self.mixing.partner[step]
        return Batch(mixup(x, partner, share), ((labels, share), (labels[partner], 1 - share)))


class EpochBatches:
    """The batches of one epoch, from images that are on the device whole. An incomplete last batch is left out.

    Args:
        recipe: ``augment``, ``batch_size``, and the augmentations' settings.
        images, labels: uint8 (n, 3, H, W) and int64 (n,), whole and on the device.
        statistics: mean and standard deviation (3,) of the images, on the device.
        seed, epoch: decide order and draws.
    """

    def __init__(
        self, recipe: Recipe, images: Tensor, labels: Tensor, statistics: tuple[Tensor, Tensor], seed: int, epoch: int
    ):
        self.recipe, self.images, self.labels = recipe, images, labels
        self.finish = Finishing(recipe, len(images), images.shape[-1], statistics, seed, epoch)
        self.plan = augment.epoch_plan(
            len(images), seed, epoch, crop="crop" in recipe.augment, flip="flip" in recipe.augment
        ).to(images.device)

    def __len__(self) -> int:
        return self.finish.steps

    def __getitem__(self, step: int) -> Batch:
        """Batch ``step``, from 0."""
        if not 0 <= step < len(self):
            raise IndexError(f"expected a step in [0, {len(self)}), found {step}")
        draws = self.plan.batch(step, self.recipe.batch_size)
        x = augment.flip(augment.crop(self.images.index_select(0, draws.order), draws.shift), draws.flip)
        return self.finish(step, x, self.labels[draws.order])


def streamed_batches(
    recipe: Recipe,
    files: FileSet,
    statistics: tuple[Tensor, Tensor],
    seed: int,
    epoch: int,
    first: int = 0,
    workers: int | None = None,
) -> Iterator[Batch]:
    """The batches of one epoch from step ``first`` on, from images that ``workers`` processes decode on the way.

    The order is that of ``EpochBatches``. ``crop`` means a random part of the image, see :mod:`fsft.datasets.stream`;
    the other augmentations are the same. The batches depend neither on ``first`` nor on ``workers``.

    Raises:
        DataError: an image cannot be read.
    """
    device, size = statistics[0].device, recipe.batch_size
    finish = Finishing(recipe, len(files), files.image_size, statistics, seed, epoch)
    order = augment.epoch_plan(len(files), seed, epoch, crop=False, flip=False).order
    indices = [order[step * size : (step + 1) * size].tolist() for step in range(first, finish.steps)]
    transform = stream.training_transform(
        files.image_size, crop="crop" in recipe.augment, flip="flip" in recipe.augment
    )
    decoded = stream.batches(stream.Samples(files, transform, seed, epoch), indices, workers, device)
    for step, (images, labels) in enumerate(decoded, first):
        yield finish(step, images, labels)
