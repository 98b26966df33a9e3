"""CUB-200-2011 (Wah et al., 2011): 200 kinds of birds with boxes and part locations, in the official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fsft.datasets.fileset import FileSet, file_set, require
from fsft.datasets.imageset import problem
from fsft.datasets.official import Unpacked

NAME = "cub200"
FOLDER = "CUB_200_2011"
ARCHIVE = f"{FOLDER}.tgz"
URL = f"https://data.caltech.edu/records/65de6-vp158/files/{ARCHIVE}"
MD5 = "97eceeb196236b17998738112f37df78"
IMAGES = {"train": 5_994, "test": 5_794}
NUM_CLASSES = 200
NUM_PARTS = 15
LISTS = ("images.txt", "train_test_split.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt")
PARTS = "parts/part_locs.txt"


def cub200(split: str, data_dir: Path) -> FileSet:
    """The ``split`` of CUB-200-2011 in ``data_dir``/CUB_200_2011, in the order of ``images.txt``, with boxes and parts.

    Raises:
        DataError: something is missing, incomplete or damaged.
    """
    archive = data_dir / ARCHIVE
    unpack = f"`fsft data unpack {NAME} --data-dir {data_dir}`"
    fix = f"run {unpack}" if archive.is_file() else f"download {URL} (MD5 {MD5}) to {archive} and run {unpack}"
    root = data_dir / FOLDER
    require(root, ("images", *LISTS, PARTS), fix)
    files = Unpacked(root, fix)
    images = _table(files, "images.txt", 2)
    count = len(images)
    if count != sum(IMAGES.values()):
        raise problem(root / "images.txt", f"{sum(IMAGES.values()):,} lines", f"{count:,}", fix)
    training = _numbers(files, "train_test_split.txt", 1, count)[:, 0] == 1
    labels = _numbers(files, "image_class_labels.txt", 1, count)[:, 0].astype(int) - 1
    boxes = _numbers(files, "bounding_boxes.txt", 4, count)
    # x, y, width, height becomes left, top, right, bottom.
    boxes[:, 2:] += boxes[:, :2]
    parts = _numbers(files, PARTS, 4, count * NUM_PARTS, keys=2).reshape(count, NUM_PARTS, 4)[..., 1:]
    classes = [row[1].partition(".")[2].replace("_", " ") for row in _table(files, "classes.txt", 2)]
    if len(classes) != NUM_CLASSES:
        raise problem(root / "classes.txt", f"{NUM_CLASSES} classes", str(len(classes)), fix)
    chosen = np.flatnonzero(training if split == "train" else ~training)
    if len(chosen) != IMAGES[split]:
        expected = f"{IMAGES[split]:,} {split} images"
        raise problem(root / "train_test_split.txt", expected, f"{len(chosen):,}", fix)
    return file_set(
        NAME,
        split,
        root / "images",
        [images[index][1] for index in chosen],
        labels[chosen].tolist(),
        classes,
        boxes[chosen].tolist(),
        fix,
        parts=parts[chosen].astype(np.float32),
    )


def _table(files: Unpacked, name: str, columns: int) -> list[list[str]]:
    """Lines of a file as ``columns`` fields each."""
    rows = [line.split(" ") for line in files.text(name).splitlines()]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            expected = f"{columns} fields in line {number}"
            raise problem(files.root / name, expected, str(len(row)), files.fix)
    return rows


def _numbers(files: Unpacked, name: str, columns: int, count: int, keys: int = 1) -> np.ndarray:
    """The columns behind the image's number in each of ``count`` lines, float64 (count, columns).

    Every file has the images in the same order, 1, 2, ...; with two ``keys`` the parts of each are counted as well.
    """
    rows = _table(files, name, 1 + columns)
    try:
        values = np.array(rows, dtype=np.float64).reshape(len(rows), 1 + columns)
    except ValueError as error:
        raise problem(files.root / name, "numbers", str(error), files.fix) from None
    line = np.arange(len(rows))
    per_image = NUM_PARTS if keys == 2 else 1
    in_order = len(rows) == count and bool((values[:, 0] == line // per_image + 1).all())
    if keys == 2:
        in_order = in_order and bool((values[:, 1] == line % per_image + 1).all())
    if not in_order or not np.isfinite(values).all():
        expected = f"{count:,} lines for the images 1 to {count // per_image:,} in this order"
        raise problem(files.root / name, expected, f"{len(rows):,} lines or another order", files.fix)
    return values[:, 1:]
