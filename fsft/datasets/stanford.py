"""Stanford Dogs (Khosla et al., 2011) and Stanford Cars (Krause et al., 2013), in their official layouts.

Their lists are MATLAB files, which ``scipy`` reads without running anything in them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from scipy.io import loadmat

from fsft.datasets.fileset import FileSet, below, file_set, require
from fsft.datasets.imageset import problem
from fsft.datasets.official import Unpacked

DOGS = "stanford-dogs"
DOGS_URL = "http://vision.stanford.edu/aditya86/ImageNetDogs"
DOGS_ARCHIVES = {
    "images.tar": "1bb1f2a596ae7057f99d7d75860002ef",
    "annotation.tar": "4298cc0031f6bc6e74612ac83b5988e2",
    "lists.tar": "edbb9f16854ec66506b5f09b583e0656",
}
DOGS_IMAGES = {"train": 12_000, "test": 8_580}
DOGS_CLASSES = 120
CARS = "stanford-cars"
CARS_FOLDER = "stanford_cars"
CARS_ARCHIVES = {
    "cars_train.tgz": "065e5b463ae28d29e77c1b4b166cfe61",
    "cars_test.tgz": "4ce7ebf6a94d07f1952d94dd34c4d501",
    "car_devkit.tgz": "c3b158d763b6e2245038c8ad08e45376",
}
CARS_IMAGES = {"train": 8_144, "test": 8_041}
CARS_CLASSES = 196
# Larger than any of the official lists, which are below 1 MB.
LIST_LIMIT = 16_000_000


def stanford_dogs(split: str, data_dir: Path) -> FileSet:
    """The ``split`` of Stanford Dogs in ``data_dir``/stanford-dogs, in the order of the official list.

    A picture with several dogs has the smallest box around them all.

    Raises:
        DataError: something is missing, incomplete or damaged.
    """
    root = data_dir / DOGS
    unpack = f"run `fsft data unpack {DOGS} --data-dir {data_dir}`"
    there = all((root / name).is_file() for name in DOGS_ARCHIVES)
    fix = unpack if there else f"download {', '.join(DOGS_ARCHIVES)} from {DOGS_URL}/ into {root} and {unpack}"
    require(root, ("Images", "Annotation", "train_list.mat", "test_list.mat"), fix)
    files = Unpacked(root, fix)
    content = _mat(files, f"{split}_list.mat", ("file_list", "labels"))
    names = [below(str(name), root, fix) for name in np.atleast_1d(content["file_list"])]
    labels = _integers(content["labels"], root / f"{split}_list.mat", fix)
    if len(names) != DOGS_IMAGES[split] or len(labels) != len(names):
        expected = f"{DOGS_IMAGES[split]:,} files and labels"
        found = f"{len(names):,} and {len(labels):,}"
        raise problem(root / f"{split}_list.mat", expected, found, fix)
    breeds = {label: name.split("/")[0].partition("-")[2] for name, label in zip(names, labels, strict=True)}
    odd = [pair for pair in zip(names, labels, strict=True) if f"-{breeds[pair[1]]}/" not in pair[0]]
    if odd or sorted(breeds) != list(range(DOGS_CLASSES)):
        found = f"{len(breeds)} labels" + (f" and {odd[0][0]} among the images of {breeds[odd[0][1]]!r}" if odd else "")
        raise problem(root / f"{split}_list.mat", f"labels 1 to {DOGS_CLASSES}, one for each folder", found, fix)
    classes = [breeds[label].replace("_", " ") for label in range(DOGS_CLASSES)]
    boxes = [_around_dogs(files, f"Annotation/{name.removesuffix('.jpg')}") for name in names]
    return file_set(DOGS, split, root / "Images", names, labels, classes, boxes, fix)


def stanford_cars(split: str, data_dir: Path) -> FileSet:
    """The ``split`` of Stanford Cars in ``data_dir``/stanford_cars, in the order of the official annotations.

    Raises:
        DataError: something is missing, incomplete or damaged.
    """
    root = data_dir / CARS_FOLDER
    fix = (
        f"put {', '.join(CARS_ARCHIVES)} and cars_test_annos_withlabels.mat into {root} and run "
        f"`fsft data unpack {CARS} --data-dir {data_dir}`; the official page no longer offers them, so take a copy of "
        "the originals"
    )
    labeled = "cars_test_annos_withlabels.mat"
    # Copies of the data set have it in either place.
    test_list = f"devkit/{labeled}" if (root / "devkit" / labeled).exists() else labeled
    train_list, meta = "devkit/cars_train_annos.mat", "devkit/cars_meta.mat"
    require(root, ("cars_train", "cars_test", train_list, meta, test_list), fix)
    files = Unpacked(root, fix)
    classes = [str(name) for name in np.atleast_1d(_mat(files, meta, ("class_names",))["class_names"])]
    if len(classes) != CARS_CLASSES:
        raise problem(root / meta, f"{CARS_CLASSES} classes", str(len(classes)), fix)
    listed = train_list if split == "train" else test_list
    rows = np.atleast_1d(_mat(files, listed, ("annotations",))["annotations"])
    if len(rows) != CARS_IMAGES[split]:
        raise problem(root / listed, f"{CARS_IMAGES[split]:,} annotations", f"{len(rows):,}", fix)
    try:
        names = [str(row["fname"]) for row in rows]
        # MATLAB counts classes and pixels from 1, and its last pixel belongs to the box.
        labels = [int(row["class"]) - 1 for row in rows]
        edges = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
        boxes = [[int(row[edge]) - (edge in edges[:2]) for edge in edges] for row in rows]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise problem(root / listed, "fname, class and the box of each image", found, fix) from None
    return file_set(CARS, split, root / f"cars_{split}", names, labels, classes, boxes, fix)


def _mat(files: Unpacked, name: str, fields: tuple[str, ...]) -> dict[str, Any]:
    """The named variables of a MATLAB file."""
    stored = io.BytesIO(files.read(name, LIST_LIMIT))
    try:
        content = loadmat(stored, simplify_cells=True, variable_names=fields)
        return {field: content[field] for field in fields}
    # Damaged headers and streams surface as many kinds of exception.
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise problem(files.root / name, f"a MATLAB file with {', '.join(fields)}", found, files.fix) from None


def _integers(values: Any, path: Path, fix: str) -> list[int]:
    """Labels from 1 as numbers from 0."""
    try:
        return [int(value) - 1 for value in np.atleast_1d(values)]
    except (TypeError, ValueError) as error:
        raise problem(path, "whole numbers as labels", str(error), fix) from None


def _around_dogs(files: Unpacked, name: str) -> tuple[int, int, int, int]:
    """The smallest box around all objects of an annotation; its edges are taken as they are written."""
    text = files.text(name)
    # Entities are the danger in XML (they can grow without bound and read files), and they need a document type.
    if "<!DOCTYPE" in text.upper() or "<!ENTITY" in text.upper():
        raise problem(files.root / name, "an annotation without a document type", "one", files.fix)
    try:
        boxes = [
            [int(box.findtext(edge, "")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            for box in ElementTree.fromstring(text).iter("bndbox")
        ]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
    except (ElementTree.ParseError, ValueError) as error:
        found = f"{type(error).__name__}: {error}"
        raise problem(files.root / name, "XML with a bndbox of whole numbers", found, files.fix) from None
    return min(x0), min(y0), max(x1), max(y1)
