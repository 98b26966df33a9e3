"""tiny-ImageNet (Stanford CS231n): 200 classes of 64x64 images with bounding boxes, in the official layout.

The official test set has no labels, so the paper and this package test on the validation images.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from fsft.datasets.cache import cached
from fsft.datasets.imagefiles import ImageTree, decode, folder_entries
from fsft.datasets.imageset import ImageSet, image_set, problem
from fsft.datasets.official import Packed, Unpacked, open_zip

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

    Raises:
        DataError: something is missing, incomplete or damaged.
    """
    if classes not in CHOICES:
        raise problem(NAME, f"classes to be one of {CHOICES}", repr(classes), "choose one of these")
    source = find_source(data_dir)
    if source.suffix != ".zip":
        folder = Unpacked(source, FIX)
        wnids = _chosen(folder, classes)
        tree, boxes = _list(folder, split, wnids)
        key = f"{NAME}-{split}" + ("" if len(wnids) == NUM_CLASSES else f"-{len(wnids)}")
        annotated = hashlib.sha256(boxes.tobytes()).hexdigest()
        signature = f"{FOLDER} {tree.signature} {annotated}"
        return cached(data_dir, key, signature, lambda: _build(folder, split, tree, boxes), fresh=fresh)

    def build() -> ImageSet:
        with open_zip(source, FOLDER, ARCHIVE_SHA256, FIX) as archive:
            return _build(archive, split, *_list(archive, split, _chosen(archive, classes)))

    # The archive is whole or it is refused, so both choices of classes are the same.
    signature = f"{ARCHIVE} {source.stat().st_size}"
    return cached(data_dir, f"{NAME}-{split}", signature, build, fresh=fresh)


def find_source(data_dir: Path) -> Path:
    """The folder or archive that ``tiny_imagenet`` reads."""
    names = {entry.name for entry in folder_entries(data_dir, FIX)}
    # The archive first: it is whole or refused, and putting it there mends a folder that is incomplete.
    for name in (ARCHIVE, FOLDER):
        if name in names:
            return data_dir / name
    raise problem(data_dir, f"{FOLDER}/ or {ARCHIVE} in it", "neither", f"{FIX} or name the right folder")


def _chosen(files: Unpacked | Packed, classes: str) -> list[str]:
    """The classes to read, by their WordNet ids, in the order of wnids.txt."""
    path = files.root / "wnids.txt"
    wnids = files.text("wnids.txt").split()
    if len(set(wnids)) != NUM_CLASSES or len(wnids) != NUM_CLASSES:
        raise problem(path, f"{NUM_CLASSES} different classes", f"{len(set(wnids))} in {len(wnids)} lines", FIX)
    present = files.names("train")
    available = [wnid for wnid in wnids if wnid in present]
    if not available or (classes == "all" and len(available) < NUM_CLASSES):
        raise problem(
            files.root / "train",
            f"the folders of {NUM_CLASSES} classes",
            f"{len(available)}",
            FIX
            + (
                ", or ask for what is there: classes='available', or --dataset-options classes=available"
                if available
                else ""
            ),
        )
    return available


def _list(files: Unpacked | Packed, split: str, wnids: list[str]) -> tuple[ImageTree, np.ndarray]:
    """The image files of a split in canonical order, and their boxes float32 (n, 4)."""
    words = dict(_fields(files, "words.txt", 2))
    names = tuple(words.get(wnid, wnid).split(",")[0] for wnid in wnids)
    found: list[tuple[int, str, int, Box]] = []
    if split == "train":
        for label, wnid in enumerate(wnids):
            boxes = {row[0]: _box(files, row) for row in _fields(files, f"train/{wnid}/{wnid}_boxes.txt", 5)}
            folder = f"train/{wnid}/images"
            found += _matched(files, folder, boxes, dict.fromkeys(boxes, label))
    else:
        rows = _fields(files, "val/val_annotations.txt", 6)
        number = {wnid: label for label, wnid in enumerate(wnids)}
        labels = {row[0]: number.get(row[1], -1) for row in rows}
        boxes = {row[0]: _box(files, row) for row in rows}
        found = [entry for entry in _matched(files, "val/images", boxes, labels) if entry[0] >= 0]
    counts = Counter(label for label, *_ in found)
    for label, wnid in enumerate(wnids):
        if counts[label] != PER_CLASS[split]:
            where = files.root / (f"train/{wnid}/images" if split == "train" else "val/images")
            expected = f"{PER_CLASS[split]} images of class {wnid}"
            raise problem(where, expected, str(counts[label]), FIX)
    found.sort(key=lambda entry: entry[:2])
    digest = hashlib.sha256("\n".join(f"{label} {name} {size}" for label, name, size, _ in found).encode())
    digest.update(" ".join(wnids).encode() + "\n".join(names).encode())
    paths = [files.root / name for _, name, _, _ in found]
    tree = ImageTree(files.root, names, paths, np.array([entry[0] for entry in found]), digest.hexdigest())
    # The files give the first and last pixel that belong to the object; our right and lower edges are exclusive.
    edges = np.array([box for *_, box in found], dtype=np.float32) + np.array([0, 0, 1, 1], dtype=np.float32)
    return tree, edges


def _matched(
    files: Unpacked | Packed, folder: str, boxes: dict[str, Box], labels: dict[str, int]
) -> list[tuple[int, str, int, Box]]:
    """(label, file, bytes, box) of each image in a folder, which must be those that the annotations list."""
    sizes = files.names(folder)
    odd = sorted(set(sizes) ^ set(boxes))
    if odd:
        found = "no such file" if odd[0] in boxes else "a file without one"
        raise problem(files.root / folder / odd[0], "each image with its annotation", found, f"replace it or {FIX}")
    return [(labels[name], f"{folder}/{name}", size, boxes[name]) for name, size in sizes.items()]


def _fields(files: Unpacked | Packed, name: str, count: int) -> list[list[str]]:
    """Lines of a file, split at tabs into ``count`` fields."""
    rows = [line.split("\t") for line in files.text(name).splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) != count:
            raise problem(files.root / name, f"{count} fields in line {number}", str(len(row)), f"replace it or {FIX}")
    return rows


def _box(files: Unpacked | Packed, row: list[str]) -> Box:
    """The last four fields of an annotation."""
    try:
        x0, y0, x1, y1 = map(int, row[-4:])
    except ValueError:
        x0, y0, x1, y1 = 0, 0, -1, -1
    if not (0 <= x0 <= x1 < SIZE and 0 <= y0 <= y1 < SIZE):
        found = " ".join(row[-4:])
        raise problem(files.root, f"a box within {SIZE}x{SIZE} pixels for {row[0]}", found, f"replace it or {FIX}")
    return x0, y0, x1, y1


def _build(files: Unpacked | Packed, split: str, tree: ImageTree, boxes: np.ndarray) -> ImageSet:
    remedy = f"replace it or {FIX}"

    def check(image: Image.Image, path: Path) -> Image.Image:
        if image.size != (SIZE, SIZE):
            raise problem(path, f"an image of {SIZE}x{SIZE} pixels", f"{image.width}x{image.height}", remedy)
        return image.convert("RGB")

    def content(path: Path) -> bytes:
        return files.read(PurePosixPath(os.path.relpath(path, files.root)).as_posix())

    images = decode(tree, check, SIZE, remedy, content)
    return image_set(NAME, split, images, tree.labels, tree.classes, boxes=boxes)
