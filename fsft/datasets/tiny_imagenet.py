"""tiny-ImageNet (Stanford CS231n): 200 classes of 64x64 images with bounding boxes, in the official layout.

The official test set has no labels, so the paper and this package test on the validation images.
"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from fsft.datasets.cache import cached
from fsft.datasets.imagefiles import decode
from fsft.datasets.reading import as_text, folder_entries, problem, read_file, stamp
from fsft.datasets.sets import ImageSet, image_set

NAME = "tiny-imagenet"
FOLDER = "tiny-imagenet-200"
FIX = f"download http://cs231n.stanford.edu/{FOLDER}.zip and `unzip` it in the --data-dir folder"
NUM_CLASSES = 200
PER_CLASS = {"train": 500, "test": 50}
SIZE = 64
CHOICES = ("all", "available")
Box = tuple[int, int, int, int]


def tiny_imagenet(split: str, data_dir: Path, *, classes: str = "all", fresh: bool = False) -> ImageSet:
    """The ``split`` of tiny-ImageNet in ``data_dir``/tiny-imagenet-200, by class and then by file name.

    "test" is the validation set. Labels follow the order of ``wnids.txt``, class names are the first in ``words.txt``.
    ``classes`` "all" demands the 200 classes; "available" takes those whose training images are there, of both splits,
    and numbers them anew in the same order: an easier task than the paper's. ``fresh`` uses no cached copy.
    """
    if classes not in CHOICES:
        raise problem(NAME, f"classes to be one of {CHOICES}", repr(classes), "choose one of these")
    listing = Listing(find_source(data_dir), split, classes)
    key = f"{NAME}-{split}" + ("" if len(listing.wnids) == NUM_CLASSES else f"-{len(listing.wnids)}")
    return cached(data_dir, key, f"{FOLDER} {listing.signature}", listing.build, fresh=fresh)


def find_source(data_dir: Path) -> Path:
    """The folder that ``tiny_imagenet`` reads."""
    if FOLDER not in {entry.name for entry in folder_entries(data_dir, FIX)}:
        raise problem(data_dir, f"{FOLDER}/ in it", "none", f"{FIX}, or name the right folder")
    return data_dir / FOLDER


class Listing:
    """The image files of a split in canonical order, with labels and boxes.

    ``wnids`` are the WordNet ids of the classes; ``signature`` changes with the files.
    """

    def __init__(self, root: Path, split: str, classes: str):
        self.root, self.split, self.wnids = root, split, _chosen(root, classes)
        words = dict(_fields(root, "words.txt", 2))
        nameless = [wnid for wnid in self.wnids if wnid not in words]
        if nameless:
            raise problem(root / "words.txt", "the names of all classes", f"none of {nameless[0]}", FIX)
        self.classes = tuple(words[wnid].split(",")[0] for wnid in self.wnids)
        # Label, file, its stamp, and its box.
        found: list[tuple[int, str, str, Box]] = []
        if split == "train":
            for label, wnid in enumerate(self.wnids):
                rows = _fields(root, f"train/{wnid}/{wnid}_boxes.txt", 5)
                found += _matched(root, f"train/{wnid}/images", rows, dict.fromkeys([row[0] for row in rows], label))
        else:
            rows = _fields(root, "val/val_annotations.txt", 6)
            number = {wnid: label for label, wnid in enumerate(self.wnids)}
            labels = {row[0]: number.get(row[1], -1) for row in rows}
            found = [entry for entry in _matched(root, "val/images", rows, labels) if entry[0] >= 0]
        counts = Counter(label for label, *_ in found)
        for label, wnid in enumerate(self.wnids):
            if counts[label] != PER_CLASS[split]:
                where = root / (f"train/{wnid}/images" if split == "train" else "val/images")
                raise problem(where, f"{PER_CLASS[split]} images of class {wnid}", str(counts[label]), FIX)
        found.sort(key=lambda entry: entry[:2])
        self.labels = np.array([label for label, *_ in found])
        self.paths = [root / name for _, name, _, _ in found]
        # The files give the first and last pixel that belong to the object; our right and lower edges are exclusive.
        self.boxes = np.array([box for *_, box in found], dtype=np.float32) + np.array([0, 0, 1, 1], dtype=np.float32)
        self.signature = hashlib.sha256(repr([self.wnids, self.classes, found]).encode()).hexdigest()

    def build(self) -> ImageSet:
        """The decoded set."""
        images = decode(self.paths, SIZE, self.root, FIX)
        return image_set(NAME, self.split, images, self.labels, self.classes, boxes=self.boxes)


def _chosen(root: Path, classes: str) -> list[str]:
    """The classes to read, by their WordNet ids, in the order of wnids.txt."""
    wnids = _text(root, "wnids.txt").split()
    if len(set(wnids)) != NUM_CLASSES or len(wnids) != NUM_CLASSES:
        found = f"{len(set(wnids))} in {len(wnids)} lines"
        raise problem(root / "wnids.txt", f"{NUM_CLASSES} different classes", found, FIX)
    present = _stamps(root / "train")
    available = [wnid for wnid in wnids if wnid in present]
    if not available or (classes == "all" and len(available) < NUM_CLASSES):
        hint = ", or ask for what is there: classes='available', or --dataset-options classes=available"
        expected = f"the folders of {NUM_CLASSES} classes"
        raise problem(root / "train", expected, str(len(available)), FIX + (hint if available else ""))
    return available


def _matched(root: Path, folder: str, rows: list[list[str]], labels: dict[str, int]) -> list[tuple[int, str, str, Box]]:
    """Label, file, stamp and box of each image in a folder, which must be those that the annotations list."""
    boxes = {row[0]: _box(root, row) for row in rows}
    stamps = _stamps(root / folder)
    odd = sorted(set(stamps) ^ set(boxes))
    if odd:
        found = "no such file" if odd[0] in boxes else "a file without one"
        raise problem(root / folder / odd[0], "each image with its annotation", found, FIX)
    return [(labels[name], f"{folder}/{name}", stamps[name], boxes[name]) for name in stamps]


def _stamps(folder: Path) -> dict[str, str]:
    """What a folder holds, without what is hidden, each with what changes when it is written again."""
    return {entry.name: stamp(entry.stat()) for entry in folder_entries(folder, FIX) if entry.name[0] != "."}


def _text(root: Path, name: str) -> str:
    return as_text(read_file(root / name, FIX), root / name, FIX)


def _fields(root: Path, name: str, count: int) -> list[list[str]]:
    """Lines of a file, split at tabs into ``count`` fields."""
    rows = [line.split("\t") for line in _text(root, name).splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) != count:
            raise problem(root / name, f"{count} fields in line {number}", str(len(row)), FIX)
    return rows


def _box(root: Path, row: list[str]) -> Box:
    """The last four fields of an annotation."""
    try:
        x0, y0, x1, y1 = map(int, row[-4:])
    except ValueError:
        x0, y0, x1, y1 = 0, 0, -1, -1
    if not (0 <= x0 <= x1 < SIZE and 0 <= y0 <= y1 < SIZE):
        raise problem(root, f"a box within {SIZE}x{SIZE} pixels for {row[0]}", " ".join(row[-4:]), FIX)
    return x0, y0, x1, y1
