"""``ImageSet``: a whole small image data set in memory, with a fingerprint of its content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class DataError(ValueError):
    """A data set is missing, damaged or asked for wrongly."""


def problem(where: object, expected: str, found: str, remedy: str) -> DataError:
    """The one sentence of a ``DataError``: where, what was expected, what was found, what to do."""
    return DataError(f"{where}: expected {expected}, found {found}; {remedy}")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One split of a data set, small enough to live in memory (and on the device) whole.

    ``images`` uint8 (n, 3, H, W); ``labels`` int64 (n,) indices into ``classes``; ``sha256`` the
    ``fingerprint`` of the four. ``masks`` bool (n, H, W), true on the object; ``boxes`` float32 (n, 4): x0,
    y0, x1, y1 in pixels, the right and lower edges exclusive. Both are ``None`` where the data set has no
    ground truth of this kind.
    """

    name: str
    split: str
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    sha256: str
    masks: Tensor | None = field(default=None, repr=False)
    boxes: Tensor | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[-1]

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (3,) to normalize with: those of these images, see :func:`channel_statistics`."""
        return channel_statistics(self.images)

    def subset(self, per_class: int, seed: int) -> ImageSet:
        """A random subset with ``per_class`` images of every class, in the original order.

        Subsets of one seed are nested: the 20 images a class has in ``subset(20, s)`` are among those of
        ``subset(50, s)``.
        """
        return self.select(balanced(self.labels, self.classes, per_class, seed, f"{self.name} {self.split}"))

    def select(self, rows: Tensor) -> ImageSet:
        """The images with the indices ``rows`` (k,), in this order, with their ground truth."""
        images, labels = self.images[rows], self.labels[rows]
        return replace(
            self,
            images=images,
            labels=labels,
            sha256=fingerprint(images, labels, self.classes),
            masks=None if self.masks is None else self.masks[rows],
            boxes=None if self.boxes is None else self.boxes[rows],
        )


def close_ups(data: ImageSet, side: int = 16) -> ImageSet:
    """Every object alone, cut out along its ground-truth box and resized to ``side`` x ``side`` pixels.

    Much easier than the whole images: for illustrations that must learn something within seconds. The result has
    neither masks nor boxes.

    Raises:
        DataError: the data set has no boxes.
    """
    if data.boxes is None:
        raise problem(f"{data.name} {data.split}", "ground-truth boxes", "none", "use a data set that has them")
    cut = []
    for image, box in zip(data.images, data.boxes, strict=True):
        x0, y0, x1, y1 = box.int().tolist()
        part = image[None, :, y0:y1, x0:x1].float()
        cut.append(F.interpolate(part, (side, side), mode="bilinear", antialias=True)[0])
    images = torch.stack(cut).round().clamp(0, 255).to(torch.uint8)
    sha256 = fingerprint(images, data.labels, data.classes)
    return replace(data, images=images, sha256=sha256, masks=None, boxes=None)


def balanced(labels: Tensor, classes: tuple[str, ...], per_class: int, seed: int, where: str) -> Tensor:
    """Indices, ascending, of ``per_class`` random images of every class; ``where`` begins the message of an error."""
    counts = torch.bincount(labels, minlength=len(classes))
    if per_class < 1 or per_class > int(counts.min()):
        poorest = classes[int(counts.argmin())]
        raise problem(
            where,
            f"1 to {int(counts.min())} images per class (class {poorest!r} has no more)",
            f"per_class={per_class}",
            "choose a number in that range",
        )
    keys = np.asarray(np.random.PCG64(np.random.SeedSequence(seed)).random_raw(len(labels)))
    by_class = np.lexsort((keys, labels.numpy()))
    starts = np.concatenate([[0], np.cumsum(counts.numpy())[:-1]])
    rank = np.arange(len(labels)) - starts[labels.numpy()[by_class]]
    return torch.from_numpy(np.sort(by_class[rank < per_class]))


def fingerprint(images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> str:
    """SHA-256 (hex) of shape, pixels, labels and class names, whatever files they came from."""
    digest = hashlib.sha256(json.dumps([list(images.shape), list(classes)]).encode())
    digest.update(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().astype("<i8").data)
    return digest.hexdigest()


def image_set(
    name: str,
    split: str,
    images: np.ndarray,
    labels: np.ndarray,
    classes: tuple[str, ...],
    *,
    masks: np.ndarray | None = None,
    boxes: np.ndarray | None = None,
) -> ImageSet:
    """An ``ImageSet`` from arrays: ``images`` (n, 3, H, W), whole numbers from 0 to 255, ``labels`` integers (n,).

    Raises:
        DataError: the images are something else, such as numbers from 0 to 1, or a label is not the index of a class.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    whole = images.dtype.kind in "ui" and (images.dtype == np.uint8 or images.size == 0 or images.min() >= 0)
    if images.ndim != 4 or not whole or (images.size and images.max() > 255):
        found = f"{images.dtype} of shape {images.shape}"
        raise problem(f"{name} {split}", "images (n, 3, H, W), whole numbers from 0 to 255", found, "convert them")
    if labels.shape != (len(images),) or (labels.size and not 0 <= labels.min() <= labels.max() < len(classes)):
        found = f"shape {labels.shape}, or numbers outside that range"
        raise problem(
            f"{name} {split}", f"{len(images)} labels from 0 to {len(classes) - 1}", found, "number them anew"
        )
    pixels = torch.from_numpy(np.ascontiguousarray(images, dtype=np.uint8))
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
    return ImageSet(
        name=name,
        split=split,
        images=pixels,
        labels=targets,
        classes=classes,
        sha256=fingerprint(pixels, targets, classes),
        masks=None if masks is None else torch.from_numpy(masks),
        boxes=None if boxes is None else torch.from_numpy(boxes),
    )


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: uint8 (n, 3, H, W) -> two float64 (3,), white being 1.

    The standard deviation is the population's (divided by the number of pixels). Computed from exact sums, so
    the result does not depend on the order of the images, the device or the number of threads.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"expected a non-empty uint8 tensor (n, 3, H, W), found {images.dtype} {tuple(images.shape)}")
    total = torch.zeros(images.shape[1], dtype=torch.float64, device=images.device)
    squares = torch.zeros_like(total)
    # Blocks that stay in the processor's cache; float64 holds these sums of integers exactly (they are far
    # below 2**53).
    for block in images.split(64):
        values = block.flatten(2).to(torch.float64)
        total += values.sum(2).sum(0)
        squares += values.square_().sum(2).sum(0)
    count = images.numel() // images.shape[1]
    # In Python's integers: count * squares would not be exact in float64, and the subtraction would show it.
    pairs = list(zip(map(int, total.tolist()), map(int, squares.tolist()), strict=True))
    mean = [sums / count / 255 for sums, _ in pairs]
    std = [(count * square - sums * sums) ** 0.5 / count / 255 for sums, square in pairs]
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)
