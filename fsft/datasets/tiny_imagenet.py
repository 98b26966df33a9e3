"""tiny-ImageNet (Stanford CS231n): 200 classes of 64x64 images with bounding boxes, in the official layout.

The official test set has no labels, so the paper and this package test on the validation images.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from fsft.datasets.cache import cached
from fsft.datasets.imagefiles import decode
from fsft.datasets.reading import (
    ARCHIVE_BYTES,
    as_text,
    folder_entries,
    open_file,
    problem,
    read_file,
    read_image,
    rgb_of,
    stamp,
)
from fsft.datasets.sets import ImageSet, image_set

NAME = "tiny-imagenet"
FOLDER = "tiny-imagenet-200"
ARCHIVE = f"{FOLDER}.zip"
ARCHIVE_SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
URL = f"http://cs231n.stanford.edu/{ARCHIVE}"
FIX = f"download {URL} into the --data-dir folder (`unzip` is not needed)"
NUM_CLASSES = 200
PER_CLASS = {"train": 500, "test": 50}
SIZE = 64
CHOICES = ("all", "available")
Box = tuple[int, int, int, int]


class Unpacked:
    """The files of the data set in its folder."""

    def __init__(self, root: Path):
        self.root = root

    def names(self, folder: str) -> dict[str, str]:
        """What a folder holds, without what is hidden, each with what changes when it is written again."""
        entries = folder_entries(self.root / folder, FIX)
        return {entry.name: stamp(entry.stat()) for entry in entries if not entry.name.startswith(".")}

    def read(self, name: str) -> bytes:
        return read_file(self.root / name, FIX)


class Packed:
    """The same in the official archive, which is never unpacked, so no name in it can lead out of a folder."""

    def __init__(self, archive: zipfile.ZipFile, root: Path):
        self.archive, self.root = archive, root
        self.folders: dict[str, dict[str, str]] = {}
        for path in map(PurePosixPath, archive.namelist()):
            for inner in (path, *path.parents[:-1]):  # an archive need not have entries for its folders
                self.folders.setdefault(str(inner.parent), {})[inner.name] = ""

    def names(self, folder: str) -> dict[str, str]:
        return self.folders[f"{FOLDER}/{folder}"]

    def read(self, name: str) -> bytes:
        return self.archive.read(f"{FOLDER}/{name}")


def tiny_imagenet(split: str, data_dir: Path, *, classes: str = "all", fresh: bool = False) -> ImageSet:
    """The ``split`` of tiny-ImageNet in ``data_dir``, by class and then by file name; "test" is the validation set.

    Read from ``tiny-imagenet-200.zip``, which is not unpacked, or else from ``tiny-imagenet-200/``. Labels follow the
    order of ``wnids.txt``, class names are the first names in ``words.txt``.

    Args:
        split: "train" or "test".
        data_dir: where the folder or the archive is.
        classes: "all" demands the 200 classes. "available" takes the classes whose training images are there, of both
            splits, and numbers them anew in the same order: an easier task than the paper's.
        fresh: do not use the cached copy.
    """
    if classes not in CHOICES:
        raise problem(NAME, f"classes to be one of {CHOICES}", repr(classes), "choose one of these")
    source = find_source(data_dir)
    if source.name == FOLDER:
        listing = Listing(Unpacked(source), split, classes)
        key = f"{NAME}-{split}" + ("" if len(listing.wnids) == NUM_CLASSES else f"-{len(listing.wnids)}")
        return cached(data_dir, key, f"{FOLDER} {listing.signature}", listing.build, fresh=fresh)

    def build() -> ImageSet:
        with open_file(source, FIX, ARCHIVE_BYTES) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != ARCHIVE_SHA256:
                size = f"{source.stat().st_size:,} bytes with SHA-256 {found}"
                raise problem(source, f"the official archive with SHA-256 {ARCHIVE_SHA256}", size, FIX)
            # The same open file: what was checked is what is read.
            with zipfile.ZipFile(file) as archive:
                return Listing(Packed(archive, source / FOLDER), split, classes).build()

    # The archive is whole or it is refused, so both choices of classes are the same.
    return cached(data_dir, f"{NAME}-{split}", f"{ARCHIVE} {stamp(source.stat())}", build, fresh=fresh)


def find_source(data_dir: Path) -> Path:
    """The folder or archive that ``tiny_imagenet`` reads."""
    names = {entry.name for entry in folder_entries(data_dir, FIX)}
    # The archive first: it is whole or refused, and putting it there mends a folder that is incomplete.
    for name in (ARCHIVE, FOLDER):
        if name in names:
            return data_dir / name
    raise problem(data_dir, f"{FOLDER}/ or {ARCHIVE} in it", "neither", f"{FIX} or name the right folder")


class Listing:
    """The image files of a split in canonical order, with labels and boxes.

    ``wnids`` are the WordNet ids of the classes; ``signature`` changes with the files.
    """

    def __init__(self, files: Unpacked | Packed, split: str, classes: str):
        self.files, self.split, self.wnids = files, split, _chosen(files, classes)
        words = dict(_fields(files, "words.txt", 2))
        nameless = [wnid for wnid in self.wnids if wnid not in words]
        if nameless:
            raise problem(files.root / "words.txt", "the names of all classes", f"none of {nameless[0]}", FIX)
        self.classes = tuple(words[wnid].split(",")[0] for wnid in self.wnids)
        # Label, file, its stamp, and its box.
        found: list[tuple[int, str, str, Box]] = []
        if split == "train":
            for label, wnid in enumerate(self.wnids):
                rows = _fields(files, f"train/{wnid}/{wnid}_boxes.txt", 5)
                found += _matched(files, f"train/{wnid}/images", rows, dict.fromkeys([row[0] for row in rows], label))
        else:
            rows = _fields(files, "val/val_annotations.txt", 6)
            number = {wnid: label for label, wnid in enumerate(self.wnids)}
            labels = {row[0]: number.get(row[1], -1) for row in rows}
            found = [entry for entry in _matched(files, "val/images", rows, labels) if entry[0] >= 0]
        counts = Counter(label for label, *_ in found)
        for label, wnid in enumerate(self.wnids):
            if counts[label] != PER_CLASS[split]:
                where = files.root / (f"train/{wnid}/images" if split == "train" else "val/images")
                raise problem(where, f"{PER_CLASS[split]} images of class {wnid}", str(counts[label]), FIX)
        found.sort(key=lambda entry: entry[:2])
        self.labels = np.array([label for label, *_ in found])
        self.names = [Path(name) for _, name, _, _ in found]
        # The files give the first and last pixel that belong to the object; our right and lower edges are exclusive.
        self.boxes = np.array([box for *_, box in found], dtype=np.float32) + np.array([0, 0, 1, 1], dtype=np.float32)
        self.signature = hashlib.sha256(repr([self.wnids, self.classes, found]).encode()).hexdigest()

    def build(self) -> ImageSet:
        """The decoded set."""

        def read(name: Path) -> Image.Image:
            path = self.files.root / name
            return read_image(path, FIX, rgb_of(SIZE, path, FIX), self.files.read(name.as_posix()))

        images = decode(self.names, read, SIZE, self.files.root)
        return image_set(NAME, self.split, images, self.labels, self.classes, boxes=self.boxes)


def _chosen(files: Unpacked | Packed, classes: str) -> list[str]:
    """The classes to read, by their WordNet ids, in the order of wnids.txt."""
    wnids = _text(files, "wnids.txt").split()
    if len(set(wnids)) != NUM_CLASSES or len(wnids) != NUM_CLASSES:
        found = f"{len(set(wnids))} in {len(wnids)} lines"
        raise problem(files.root / "wnids.txt", f"{NUM_CLASSES} different classes", found, FIX)
    present = files.names("train")
    available = [wnid for wnid in wnids if wnid in present]
    if not available or (classes == "all" and len(available) < NUM_CLASSES):
        hint = ", or ask for what is there: classes='available', or --dataset-options classes=available"
        expected = f"the folders of {NUM_CLASSES} classes"
        raise problem(files.root / "train", expected, str(len(available)), FIX + (hint if available else ""))
    return available


def _matched(
    files: Unpacked | Packed, folder: str, rows: list[list[str]], labels: dict[str, int]
) -> list[tuple[int, str, str, Box]]:
    """Label, file, stamp and box of each image in a folder, which must be those that the annotations list."""
    boxes = {row[0]: _box(files, row) for row in rows}
    stamps = files.names(folder)
    odd = sorted(set(stamps) ^ set(boxes))
    if odd:
        found = "no such file" if odd[0] in boxes else "a file without one"
        raise problem(files.root / folder / odd[0], "each image with its annotation", found, FIX)
    return [(labels[name], f"{folder}/{name}", stamps[name], boxes[name]) for name in stamps]


def _text(files: Unpacked | Packed, name: str) -> str:
    return as_text(files.read(name), files.root / name, FIX)


def _fields(files: Unpacked | Packed, name: str, count: int) -> list[list[str]]:
    """Lines of a file, split at tabs into ``count`` fields."""
    rows = [line.split("\t") for line in _text(files, name).splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) != count:
            raise problem(files.root / name, f"{count} fields in line {number}", str(len(row)), FIX)
    return rows


def _box(files: Unpacked | Packed, row: list[str]) -> Box:
    """The last four fields of an annotation."""
    try:
        x0, y0, x1, y1 = map(int, row[-4:])
    except ValueError:
        x0, y0, x1, y1 = 0, 0, -1, -1
    if not (0 <= x0 <= x1 < SIZE and 0 <= y0 <= y1 < SIZE):
        raise problem(files.root, f"a box within {SIZE}x{SIZE} pixels for {row[0]}", " ".join(row[-4:]), FIX)
    return x0, y0, x1, y1
