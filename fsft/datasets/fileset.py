"""``FileSet``: a data set of large images that stay in their files and are decoded when they are needed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fsft.datasets.imagefiles import FORMATS
from fsft.datasets.imageset import balanced, problem

IMAGE_SIZE = 224
# Of ImageNet's training images, as every torchvision network has them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class FileSet:
    """One split of a data set whose images are decoded one by one.

    ``names`` are paths below ``root``; ``sizes`` their bytes; ``labels`` int64 (n,) indices into ``classes``; ``boxes``
    float32 (n, 4): x0, y0, x1, y1 in pixels of the file, the right and lower edges exclusive; ``parts`` float32
    (n, P, 3): x and y in pixels and 1 where the part is visible, or ``None``. Networks see squares of ``image_size``
    pixels; ``fix`` ends the message of an error about a file.
    """

    name: str
    split: str
    root: Path
    names: tuple[str, ...] = field(repr=False)
    sizes: tuple[int, ...] = field(repr=False)
    labels: Tensor = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    boxes: Tensor = field(repr=False)
    parts: Tensor | None = field(default=None, repr=False)
    fix: str = field(default="replace it", repr=False)
    image_size: int = IMAGE_SIZE

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (3,) to normalize with: ImageNet's, whatever the images."""
        return torch.tensor(MEAN), torch.tensor(STD)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the files' names and bytes, labels and class names. No image is read for it."""
        listing = [self.names, self.sizes, self.labels.tolist(), self.classes]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def image(self, index: int) -> Image.Image:
        """The whole image of one file, in RGB.

        Raises:
            DataError: it cannot be read.
        """
        path = self.root / self.names[index]
        try:
            with Image.open(path, formats=FORMATS) as image:
                return image.convert("RGB")
        # Pillow's decoders raise many kinds of exception on damaged files.
        except Exception as error:
            found = f"one that cannot be read ({type(error).__name__})"
            raise problem(path, "an image file", found, self.fix) from None

    def subset(self, per_class: int, seed: int) -> FileSet:
        """A random subset with ``per_class`` images of every class, as :meth:`fsft.ImageSet.subset` draws it."""
        return self.select(balanced(self.labels, self.classes, per_class, seed, f"{self.name} {self.split}"))

    def select(self, rows: Tensor) -> FileSet:
        """The files with the indices ``rows`` (k,), in this order."""
        return replace(
            self,
            names=tuple(self.names[index] for index in rows.tolist()),
            sizes=tuple(self.sizes[index] for index in rows.tolist()),
            labels=self.labels[rows],
            boxes=self.boxes[rows],
            parts=None if self.parts is None else self.parts[rows],
        )

    def report(self) -> list[str]:
        """Decode every image, and say what is there.

        Raises:
            DataError: an image cannot be read.
        """
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            extents = np.array(list(pool.map(lambda index: self.image(index).size, range(len(self)))))
        counts = self.labels.bincount(minlength=self.num_classes)
        (width, height), (widest, highest) = extents.min(0).tolist(), extents.max(0).tolist()
        return [
            f"{self.split}: {len(self):,} images of {width} to {widest} by {height} to {highest} pixels, "
            f"{self.num_classes} classes, {int(counts.min())} to {int(counts.max())} per class",
            f"  SHA-256 of the list {self.sha256}",
        ]


def file_set(
    name: str,
    split: str,
    root: Path,
    names: Sequence[str],
    labels: Sequence[int],
    classes: Sequence[str],
    boxes: Sequence[Sequence[float]],
    fix: str,
    parts: np.ndarray | None = None,
) -> FileSet:
    """A ``FileSet`` whose files exist and whose labels and boxes make sense.

    Raises:
        DataError: a name leads out of ``root``, a file is missing, a label is unknown, a box is empty, or a class has
            no image.
    """
    sizes, missing = [], []
    for entry in names:
        try:
            sizes.append((root / below(entry, root, fix)).stat().st_size)
        except OSError:
            missing.append(entry)
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
    return FileSet(
        name=name,
        split=split,
        root=root,
        names=tuple(names),
        sizes=tuple(sizes),
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=tuple(classes),
        boxes=torch.tensor(boxes, dtype=torch.float32),
        parts=None if parts is None else torch.from_numpy(parts),
        fix=fix,
    )


def below(name: str, root: Path, fix: str) -> str:
    """``name`` if it is a plain relative path; a list from elsewhere must not lead out of its folder.

    Raises:
        DataError: it is not.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0"):
        raise problem(root, "file names that stay in this folder", repr(name), fix)
    return name


def require(root: Path, names: Sequence[str], fix: str) -> None:
    """Check that the files and folders are there, and name all that are not.

    Raises:
        DataError: some are missing.
    """
    missing = [name for name in names if not (root / name).exists()]
    if missing:
        found = "no such folder" if not root.is_dir() else f"no {', '.join(missing)}"
        raise problem(root, f"a folder with {', '.join(names)}", found, fix)
