"""Data sets: ``ImageSet``, whole in memory, and ``FileSet``, whose large images are decoded when they are needed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsft.datasets.reading import problem, read_image

IMAGE_SIZE = 224
# Of ImageNet's training images, as every torchvision network has them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_PARTS = ("images", "labels", "masks", "boxes")  # of an ImageSet, one row an image


class _Split(ABC):
    """What both kinds of set have: a name, a split, and labels int64 (n,) that are indices into ``classes``."""

    name: str
    split: str
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @abstractmethod
    def select(self, rows: Tensor) -> Self:
        """The images with the indices ``rows`` (k,), in this order, with their ground truth."""

    def subset(self, per_class: int, seed: int) -> Self:
        """A random subset with ``per_class`` images of every class, in the original order.

        Subsets of one seed are nested: the 20 images a class has in ``subset(20, s)`` are among those of
        ``subset(50, s)``. DataError where a class has fewer.
        """
        labels = self.labels.numpy()
        counts = np.bincount(labels, minlength=self.num_classes)
        if not 1 <= per_class <= counts.min():
            expected = f"1 to {counts.min()} images per class (class {self.classes[counts.argmin()]!r} has no more)"
            found = f"per_class={per_class}"
            raise problem(f"{self.name} {self.split}", expected, found, "choose a number in that range")
        keys = np.asarray(np.random.PCG64(np.random.SeedSequence(seed)).random_raw(len(self)))
        by_class = np.lexsort((keys, labels))
        starts = np.cumsum(counts) - counts
        rank = np.arange(len(self)) - starts[labels[by_class]]
        return self.select(torch.from_numpy(np.sort(by_class[rank < per_class])))


@dataclass(frozen=True, eq=False)
class ImageSet(_Split):
    """One split of a data set, small enough to live in memory (and on the device) whole.

    ``images`` uint8 (n, 3, H, W); ``labels`` int64 (n,) indices into ``classes``; ``sha256`` the
    ``fingerprint`` of the four. ``masks`` bool (n, H, W), true on the object; ``boxes`` float32 (n, 4): x0,
    y0, x1, y1 in pixels, the right and lower edges exclusive. Both are ``None`` where the data set has no
    ground truth of this kind. Other shapes and types, and labels of no class, raise DataError.
    """

    name: str
    split: str
    images: Tensor = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    sha256: str
    masks: Tensor | None = field(default=None, repr=False)
    boxes: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        count, *_, height, width = (0, 0, *self.images.shape)[-4:]
        for what, part, dtype, shape in (
            ("images", self.images, torch.uint8, (count, 3, height, width)),
            ("labels", self.labels, torch.int64, (count,)),
            ("masks", self.masks, torch.bool, (count, height, width)),
            ("boxes", self.boxes, torch.float32, (count, 4)),
        ):
            if part is not None and (part.dtype, part.shape) != (dtype, shape):
                expected, found = f"{what} {dtype} of shape {shape}", f"{part.dtype} of shape {tuple(part.shape)}"
                raise problem(f"{self.name} {self.split}", expected, found, "convert them")
        if not ((self.labels >= 0) & (self.labels < len(self.classes))).all():
            found = f"{self.labels.min()} to {self.labels.max()}"
            raise problem(f"{self.name} {self.split}", f"labels from 0 to {len(self.classes) - 1}", found, "renumber")

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[-1]

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (3,) to normalize with: those of these images, see :func:`channel_statistics`."""
        return channel_statistics(self.images)

    def select(self, rows: Tensor) -> ImageSet:
        parts = {name: getattr(self, name) for name in _PARTS}
        return self.altered(**{name: None if part is None else part[rows] for name, part in parts.items()})

    def altered(self, **changes: Any) -> ImageSet:
        """The set with other fields, and the fingerprint that belongs to them."""
        data = replace(self, **changes)
        return replace(data, sha256=fingerprint(data.images, data.labels, data.classes))


@dataclass(frozen=True, eq=False)
class FileSet(_Split):
    """One split of a data set whose images are decoded one by one.

    ``names`` are paths below ``root``; ``sizes`` their bytes; ``boxes`` float32 (n, 4): x0, y0, x1, y1 in pixels of the
    file, the right and lower edges exclusive. Networks see squares of ``image_size`` pixels; ``fix`` ends the message
    of an error about a file.
    """

    name: str
    split: str
    root: Path
    names: tuple[str, ...] = field(repr=False)
    sizes: tuple[int, ...] = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    boxes: Tensor = field(repr=False)
    fix: str = field(repr=False)
    image_size: int = IMAGE_SIZE

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (3,) to normalize with: ImageNet's, whatever the images."""
        return torch.tensor(MEAN), torch.tensor(STD)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the list: names of the files, their numbers of bytes, labels, class names.

        Not of what is in the files, which would take minutes: two files of equal size under one name look the same.
        """
        listing = [self.names, self.sizes, self.labels.tolist(), self.classes]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def image(self, index: int) -> Image.Image:
        """The whole image of one file, in RGB; as it is stored, for that is what its box was drawn on."""
        return read_image(self.root / self.names[index], self.fix, lambda image: image.convert("RGB"))

    def select(self, rows: Tensor) -> FileSet:
        names, sizes = (tuple(part[index] for index in rows.tolist()) for part in (self.names, self.sizes))
        return replace(self, names=names, sizes=sizes, labels=self.labels[rows], boxes=self.boxes[rows])

    def extents(self) -> np.ndarray:
        """Width and height in pixels of every image, int64 (n, 2), all of which are decoded for it."""
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            return np.array(list(pool.map(lambda index: self.image(index).size, range(len(self)))))


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

    DataError where the images are something else, such as numbers from 0 to 1, or a label is not the index of a class.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    # What is no whole number, or too large, stays as it is, and is refused.
    if images.dtype.kind in "ui" and (not images.size or (images.min() >= 0 and images.max() < 256)):
        images = images.astype(np.uint8, copy=False)
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    targets = torch.from_numpy(np.ascontiguousarray(labels.astype(np.int64) if labels.dtype.kind in "ui" else labels))
    truth = {kind: torch.from_numpy(part) for kind, part in (("masks", masks), ("boxes", boxes)) if part is not None}
    return ImageSet(name, split, pixels, targets, classes, fingerprint(pixels, targets, classes), **truth)


def file_set(
    name: str,
    split: str,
    root: Path,
    names: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    boxes: Sequence[Sequence[float]],
    fix: str,
) -> FileSet:
    """A ``FileSet`` whose files exist and whose labels and boxes make sense.

    DataError where a name leads out of ``root``, a file is missing, a label is unknown, a box is empty, or a class has
    no image.
    """
    sizes, missing = [], []
    for entry in names:
        try:
            status = (root / below(entry, root, fix)).stat()
        except OSError:
            missing.append(entry)
        else:
            sizes.append(status.st_size)
            if not stat.S_ISREG(status.st_mode):
                raise problem(root / entry, "an image file", "a folder, a pipe or a device", fix)
    if missing:
        found = f"{len(missing):,} of them missing, such as {missing[0]}"
        raise problem(root, f"the {len(names):,} images of its {split} list", found, fix)
    for entry, label, (x0, y0, x1, y1) in zip(names, labels, boxes, strict=True):
        if not 0 <= label < len(classes):
            raise problem(root / entry, f"a label from 1 to {len(classes)}", str(label + 1), fix)
        if not (x0 < x1 and y0 < y1):
            raise problem(root / entry, "a box with left before right and top before bottom", f"{x0, y0, x1, y1}", fix)
    empty = sorted(set(range(len(classes))) - set(labels))
    if empty:
        raise problem(root, f"{split} images of class {classes[empty[0]]!r}", "none", fix)
    targets, edges = torch.tensor(labels, dtype=torch.int64), torch.tensor(boxes, dtype=torch.float32)
    return FileSet(name, split, root, tuple(names), tuple(sizes), targets, tuple(classes), edges, fix)


def below(name: str, root: Path, fix: str) -> str:
    """``name``, which must be a plain relative path: a list from elsewhere must not lead out of its folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise problem(root, "file names that stay in this folder", repr(name), fix)
    return name


def fingerprint(images: Tensor, labels: Tensor, classes: tuple[str, ...]) -> str:
    """SHA-256 (hex) of shape, pixels, labels and class names, whatever files they came from."""
    digest = hashlib.sha256(json.dumps([list(images.shape), list(classes)]).encode())
    digest.update(images.contiguous().numpy().data)
    digest.update(labels.contiguous().numpy().astype("<i8").data)
    return digest.hexdigest()


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel: uint8 (n, 3, H, W) -> two float64 (3,), white being 1.

    The standard deviation is the population's (divided by the number of pixels). Computed in whole numbers, so
    the result does not depend on the order of the images, the device or the number of threads.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"expected a non-empty uint8 tensor (n, 3, H, W), found {images.dtype} {tuple(images.shape)}")
    mean, std = [], []
    for channel in images.unbind(1):
        histogram = [int(count) for count in channel.flatten().bincount(minlength=256)]
        count, total, squares = (
            sum(times * value**power for value, times in enumerate(histogram)) for power in range(3)
        )
        mean.append(total / count / 255)
        std.append((count * squares - total * total) ** 0.5 / count / 255)
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64)


def check_statistics(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3,) as they are; ValueError if images cannot be normalized with them."""
    mean, std = torch.as_tensor(mean), torch.as_tensor(std)
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        found = f"means {mean.tolist()} and deviations {std.tolist()}"
        raise ValueError(f"expected color channels that vary over the training images, found {found}")
    return mean, std


def evenly_chosen(data: ImageSet | FileSet, count: int) -> ImageSet | FileSet:
    """At most ``count`` images of a set, without a copy of those that are in memory."""
    every = math.ceil(len(data) / count)
    if isinstance(data, FileSet):
        return data.select(torch.arange(0, len(data), every))
    parts: dict[str, Any] = {name: getattr(data, name) for name in _PARTS}
    parts = {name: None if part is None else part[::every] for name, part in parts.items()}
    return replace(data, **parts)


def check_match(train_set: ImageSet | FileSet, test_set: ImageSet | FileSet) -> None:
    """Whether what is learned from one set can be tested on the other; ValueError if not."""
    for what in ("classes", "image_size"):
        ours, theirs = getattr(train_set, what), getattr(test_set, what)
        if ours != theirs:
            raise ValueError(f"expected training and test images of the same {what}, found {ours} and {theirs}")
