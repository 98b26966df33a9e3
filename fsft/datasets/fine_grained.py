"""The paper's fine-grained data sets in their official layouts, with boxes: CUB-200-2011 (Wah et al., 2011), Stanford
Dogs (Khosla et al., 2011) and Stanford Cars (Krause et al., 2013).

The Stanford lists are MATLAB files, which ``scipy`` reads without running anything in them.
"""

import io
import zlib
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
from scipy.io import loadmat

from fsft.datasets.reading import LIST_BYTES, as_text, problem, read_file
from fsft.datasets.sets import FileSet, below, file_set

CUB, DOGS, CARS = "cub200", "stanford-dogs", "stanford-cars"
IMAGES = {
    CUB: {"train": 5_994, "test": 5_794},
    DOGS: {"train": 12_000, "test": 8_580},
    CARS: {"train": 8_144, "test": 8_041},
}
NUM_CLASSES = {CUB: 200, DOGS: 120, CARS: 196}
# Folder of the archives, from the data folder, and the MD5 of each.
_DOGS = {
    "images.tar": "1bb1f2a596ae7057f99d7d75860002ef",
    "annotation.tar": "4298cc0031f6bc6e74612ac83b5988e2",
    "lists.tar": "edbb9f16854ec66506b5f09b583e0656",
}
_CARS = {
    "cars_train.tgz": "065e5b463ae28d29e77c1b4b166cfe61",
    "cars_test.tgz": "4ce7ebf6a94d07f1952d94dd34c4d501",
    "car_devkit.tgz": "c3b158d763b6e2245038c8ad08e45376",
}
ARCHIVES = {
    CUB: (".", {"CUB_200_2011.tgz": "97eceeb196236b17998738112f37df78"}),
    DOGS: ("stanford-dogs", _DOGS),
    CARS: ("stanford_cars", _CARS),
}
SOURCES = {
    CUB: "download https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    DOGS: "download them from http://vision.stanford.edu/aditya86/ImageNetDogs/",
    CARS: "take a copy of the originals and cars_test_annos_withlabels.mat; the official page no longer offers them",
}


def cub200(split: str, data_dir: Path) -> FileSet:
    """The ``split`` of CUB-200-2011 in ``data_dir``/CUB_200_2011, in the order of ``images.txt``."""
    root, fix, count = data_dir / "CUB_200_2011", _fix(CUB, data_dir), sum(IMAGES[CUB].values())
    names = [name for (name,) in _table(root / "images.txt", 1, count, fix)]
    training = _numbers(root / "train_test_split.txt", 1, count, fix)[:, 0] == 1
    labels = _numbers(root / "image_class_labels.txt", 1, count, fix)[:, 0].astype(int) - 1
    boxes = _numbers(root / "bounding_boxes.txt", 4, count, fix)
    boxes[:, 2:] += boxes[:, :2]  # x, y, width, height becomes left, top, right, bottom
    listed = _table(root / "classes.txt", 1, NUM_CLASSES[CUB], fix)
    classes = [name.partition(".")[2].replace("_", " ") for (name,) in listed]
    rows = np.flatnonzero(training if split == "train" else ~training)
    _check_count(root / "train_test_split.txt", CUB, split, len(rows), fix)
    names = [names[row] for row in rows]
    return file_set(CUB, split, root / "images", names, labels[rows].tolist(), classes, boxes[rows].tolist(), fix)


def stanford_dogs(split: str, data_dir: Path) -> FileSet:
    """The ``split`` of Stanford Dogs in ``data_dir``/stanford-dogs, in the order of the official list.

    A picture with several dogs has the smallest box around them all.
    """
    root, fix = data_dir / ARCHIVES[DOGS][0], _fix(DOGS, data_dir)
    path = root / f"{split}_list.mat"
    content = _mat(path, fix, "file_list", "labels")
    names = [below(str(name), root, fix) for name in np.atleast_1d(content["file_list"])]
    try:
        labels = [int(value) - 1 for value in np.atleast_1d(content["labels"])]
    except (TypeError, ValueError) as error:
        raise problem(path, "whole numbers as labels", str(error), fix) from None
    for listed in (names, labels):
        _check_count(path, DOGS, split, len(listed), fix)
    breeds = sorted({(label, name.split("/")[0]) for label, name in zip(labels, names, strict=True)})
    folders = {folder for _, folder in breeds}
    if [label for label, _ in breeds] != list(range(len(folders))) or len(folders) != NUM_CLASSES[DOGS]:
        found = f"{len(breeds)} pairs of label and folder"
        raise problem(path, f"labels 1 to {NUM_CLASSES[DOGS]}, one for each folder", found, fix)
    classes = [folder.partition("-")[2].replace("_", " ") for _, folder in breeds]
    boxes = [_around_dogs(root / "Annotation" / name.removesuffix(".jpg"), fix) for name in names]
    return file_set(DOGS, split, root / "Images", names, labels, classes, boxes, fix)


def stanford_cars(split: str, data_dir: Path) -> FileSet:
    """The ``split`` of Stanford Cars in ``data_dir``/stanford_cars, in the order of the official annotations."""
    root, fix = data_dir / ARCHIVES[CARS][0], _fix(CARS, data_dir)
    path = root / "devkit" / ("cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat")
    if split == "test" and not path.exists():  # copies of the data set have it in either place
        path, fix = root / path.name, "get a copy of this file too, which the official page no longer offers"
    meta = root / "devkit" / "cars_meta.mat"
    classes = [str(name) for name in np.atleast_1d(_mat(meta, fix, "class_names")["class_names"])]
    if len(classes) != NUM_CLASSES[CARS]:
        raise problem(meta, f"{NUM_CLASSES[CARS]} classes", str(len(classes)), fix)
    rows = np.atleast_1d(_mat(path, fix, "annotations")["annotations"])
    _check_count(path, CARS, split, len(rows), fix)
    try:
        names = [str(row["fname"]) for row in rows]
        # MATLAB counts classes and pixels from 1, and its last pixel belongs to the box.
        labels = [int(row["class"]) - 1 for row in rows]
        edges = {"bbox_x1": 1, "bbox_y1": 1, "bbox_x2": 0, "bbox_y2": 0}
        boxes = [[int(row[edge]) - first for edge, first in edges.items()] for row in rows]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise problem(path, "fname, class and the box of each image", found, fix) from None
    return file_set(CARS, split, root / f"cars_{split}", names, labels, classes, boxes, fix)


def _fix(name: str, data_dir: Path) -> str:
    """What to do where something is missing."""
    place, digests = ARCHIVES[name]
    wanted = ", ".join(f"{archive} (MD5 {md5})" for archive, md5 in digests.items())
    unpack = " && ".join(f"tar -xf {archive}" for archive in digests)
    return f"put {wanted} into {data_dir / place} ({SOURCES[name]}) and run `{unpack}` there"


def _check_count(path: Path, name: str, split: str, found: int, fix: str) -> None:
    if found != IMAGES[name][split]:
        raise problem(path, f"{IMAGES[name][split]:,} {split} images", f"{found:,}", fix)


def _table(path: Path, columns: int, count: int, fix: str) -> list[list[str]]:
    """The ``columns`` behind the number in each of ``count`` lines; all lists of CUB are numbered 1, 2, ..."""
    rows = [line.split(" ") for line in as_text(read_file(path, fix), path, fix).splitlines()]
    odd = [number for number, row in enumerate(rows, 1) if len(row) != 1 + columns or row[0] != str(number)]
    if len(rows) != count or odd:
        found = f"{len(rows):,} lines" + (f", line {odd[0]} being {' '.join(rows[odd[0] - 1])!r}" if odd else "")
        expected = f"{count:,} lines that begin with 1, 2, ... and have {1 + columns} fields"
        raise problem(path, expected, found, fix)
    return [row[1:] for row in rows]


def _numbers(path: Path, columns: int, count: int, fix: str) -> np.ndarray:
    """The same as float64 (count, columns)."""
    try:
        return np.asarray_chkfinite(_table(path, columns, count, fix), dtype=np.float64)
    except ValueError as error:
        raise problem(path, "numbers", str(error), fix) from None


def _mat(path: Path, fix: str, *fields: str) -> dict[str, Any]:
    """The named variables of a MATLAB file."""
    stored = read_file(path, fix)
    try:
        if _unpacked_size(stored) > LIST_BYTES:
            raise ValueError(f"more than {LIST_BYTES:,} bytes when it is unpacked")
        content = loadmat(io.BytesIO(stored), simplify_cells=True, variable_names=fields)
        return {field: content[field] for field in fields}
    # Damaged headers and streams surface as many kinds of exception.
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise problem(path, f"a MATLAB file with {', '.join(fields)}", found, fix) from None


def _unpacked_size(stored: bytes) -> int:
    """Bytes of the compressed variables of a MATLAB file (version 5) when they are unpacked, as far as the limit."""
    order: Literal["little", "big"] = "little" if stored[126:128] == b"IM" else "big"
    total, place = 0, 128
    while place + 8 <= len(stored) and total <= LIST_BYTES:
        kind, size = (int.from_bytes(stored[start : start + 4], order) for start in (place, place + 4))
        if kind == 15:  # miCOMPRESSED
            packed = stored[place + 8 : place + 8 + size]
            total += len(zlib.decompressobj().decompress(packed, LIST_BYTES + 1))
        place += 8 + size
    return total


def _around_dogs(path: Path, fix: str) -> tuple[int, int, int, int]:
    """The smallest box around all objects of an annotation; its edges are taken as they are written."""
    text = as_text(read_file(path, fix), path, fix)
    # Entities are the danger in XML (they can grow without bound and read files), and they need a document type.
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise problem(path, "an annotation without a document type", "one", fix)
    try:
        boxes = [
            [int(box.findtext(edge, "")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            for box in ElementTree.fromstring(text).iter("bndbox")
        ]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
    except (ElementTree.ParseError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise problem(path, "XML with a bndbox of whole numbers", found, fix) from None
    return min(x0), min(y0), max(x1), max(y1)
