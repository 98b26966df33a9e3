"""Training batches on the device, augmented as the recipe says; all draws are a pure function of (seed, epoch).

The draws of an epoch are tables with one row for each step. They lie on the device, and so does the number of the step:
a step finds its row without the host, so that one recording of a step serves for all (:mod:`fsft.runtime.graphs`).
"""

from collections.abc import Generator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from fsft import augment
from fsft.augment import cutout, cutout_centers, mixup, mixup_plan
from fsft.datasets import stream
from fsft.datasets.sets import FileSet
from fsft.recipe import Recipe

Draws = dict[str, Tensor]


class Batch(NamedTuple):
    """A training batch."""

    images: Tensor  # float32 (B, 3, H, W), augmented, normalized, channels last
    # Pairs of labels (B,) and the share that they have in the loss, adding up to one: two where images are mixed.
    targets: tuple[tuple[Tensor, Tensor | float], ...]


def epoch_draws(recipe: Recipe, count: int, size: int, seed: int, epoch: int) -> Draws:
    """The draws of an epoch over ``count`` images of side ``size``, on the CPU. An incomplete last batch is left out.

    ``order`` int64 (steps, B), indices of images; ``shift`` int64 (steps, B, 2) and ``flip`` bool (steps, B) as in
    :func:`fsft.augment.epoch_plan`; with Cutout ``centers`` int64 (steps, B, 2); with Mixup ``share`` float32 (steps,)
    and ``partner`` int64 (steps, B).
    """
    batch, steps = recipe.batch_size, count // recipe.batch_size
    plan = augment.epoch_plan(count, seed, epoch, crop="crop" in recipe.augment, flip="flip" in recipe.augment)
    draws = {"order": plan.order, "shift": plan.shift, "flip": plan.flip}
    if "cutout" in recipe.augment:
        draws["centers"] = cutout_centers(count, size, size, seed, epoch)
    tables = {name: values[: steps * batch].unflatten(0, (steps, batch)) for name, values in draws.items()}
    if "mixup" in recipe.augment:
        tables |= mixup_plan(steps, batch, seed, epoch, recipe.mixup_alpha)._asdict()
    return tables


def draws_of_step(tables: Mapping[str, Tensor], step: Tensor) -> Draws:
    """The tables' rows of the step whose number is in the tensor ``step``, int64 (1,), on their device."""
    # Not table[step]: that reads the number on the host, which would have to wait for the device.
    return {name: table.index_select(0, step)[0] for name, table in tables.items()}


def crop_and_flip(images: Tensor, labels: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """A step's images uint8 (B, 3, H, W) and labels (B,), from a whole set on the device."""
    chosen = images.index_select(0, draws["order"])
    return augment.flip(augment.crop(chosen, draws["shift"]), draws["flip"]), labels[draws["order"]]


def finished_batch(
    recipe: Recipe, statistics: tuple[Tensor, Tensor], draws: Draws, images: Tensor, labels: Tensor
) -> Batch:
    """Normalization, Cutout and Mixup of a step's images uint8 (B, 3, H, W), cropped and flipped, and labels (B,).

    The same for images from memory and from files. ``statistics`` (3,) of the training set are on the device.
    """
    x = augment.normalize(images, *statistics, channels_last=True)
    if "centers" in draws:
        x = cutout(x, draws["centers"], recipe.cutout_length)
    if "share" not in draws:
        return Batch(x, ((labels, 1.0),))
    share, partner = draws["share"], draws["partner"]
    return Batch(mixup(x, partner, share), ((labels, share), (labels[partner], 1 - share)))


def decoded_images(
    recipe: Recipe, files: FileSet, order: Tensor, seed: int, epoch: int, workers: int | None, device: torch.device
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """A step's images and labels, for each row of ``order`` (steps, B), decoded by ``workers`` processes on the way.

    ``crop`` means a random part of the image, see :mod:`fsft.datasets.stream`. The images depend neither on the step
    with which ``order`` begins nor on ``workers``. DataError: an image cannot be read.
    """
    crop, flip = ("crop" in recipe.augment, "flip" in recipe.augment)
    transform = stream.training_transform(files.image_size, crop=crop, flip=flip)
    yield from stream.batches(stream.Samples(files, transform, seed, epoch), order.tolist(), workers, device)
