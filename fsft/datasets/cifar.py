"""CIFAR-100 from the official archive, its unpacked folder, or a tree of class folders: the same arrays from
each.
"""

from __future__ import annotations

import os
from http.client import HTTPException
from pathlib import Path

import numpy as np
from PIL import Image

from fsft.datasets.cache import cached
from fsft.datasets.cifar_archive import ARCHIVE, FIX, FOLDER, MD5, read_archive
from fsft.datasets.imagefiles import decode, folder_entries, list_tree
from fsft.datasets.imageset import ImageSet, image_set, problem

TREE = "cifar100"
# Fingerprints of the decoded images in canonical order: a class-folder tree has no MD5 of its own to check.
SHA256 = {
    "train": "caae2e7b0bcfd51b937a55ce10021ac7545fadacf125b39d92115bb1b09274a9",
    "test": "4e8a12445e37201c45304b3bc53adfd8bd6d4753ee8f0eb6a3c9924b84769488",
}
PER_CLASS = {"train": 500, "test": 100}
SIZE = 32
_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
CLASSES = tuple(_NAMES.split())


def cifar100(split: str, data_dir: Path, *, fresh: bool = False) -> ImageSet:
    """The ``split`` of CIFAR-100 found in ``data_dir``, by class and then by original file name.

    Looks for ``cifar-100-python.tar.gz``, ``cifar-100-python/`` and
    ``cifar100/{train,test}/<class>/<file>.webp`` (or .png), and takes the first that exists; if that is
    damaged it is an error, never a reason to take the next.
    """
    source = find_source(data_dir)
    key = f"cifar100-{split}"
    if source.name != TREE:
        files = [source] if source.is_file() else [source / split, source / "meta"]
        signature = " ".join(f"{file.name} {_size(file)}" for file in files)
        return cached(data_dir, key, signature, lambda: _from_archive(source, split), fresh=fresh)
    root, remedy = source / split, f"unpack the data again or {FIX}"
    tree = list_tree(root, remedy)
    _check_counts(tree.counts(), split, root, remedy)

    def check(image: Image.Image, path: Path) -> Image.Image:
        if image.size != (SIZE, SIZE):
            found = f"{image.width}x{image.height}"
            raise problem(path, f"an image of {SIZE}x{SIZE} pixels", found, remedy)
        return image.convert("RGB")

    def build() -> ImageSet:
        data = image_set("cifar100", split, decode(tree, check, SIZE, remedy), tree.labels, tree.classes)
        if data.sha256 != SHA256[split]:
            found = f"other pixels or file names (SHA-256 {data.sha256})"
            raise problem(root, f"CIFAR-100's images (SHA-256 {SHA256[split]})", found, remedy)
        return data

    return cached(data_dir, key, f"{TREE} {tree.signature}", build, fresh=fresh)


def find_source(data_dir: Path) -> Path:
    """The archive, folder or tree that ``cifar100`` reads."""
    names = {entry.name for entry in folder_entries(data_dir, FIX)}
    for name in (ARCHIVE, FOLDER, TREE):
        if name in names:
            return data_dir / name
    expected = f"{ARCHIVE}, {FOLDER}/ or {TREE}/ in it"
    raise problem(data_dir, expected, "none of them", f"{FIX} or name the right folder")


def download_cifar100(data_dir: str | os.PathLike[str]) -> Path:
    """Download the official archive (169 MB) into ``data_dir``, check its MD5, and return its path."""
    from torchvision.datasets import CIFAR100
    from torchvision.datasets.utils import check_md5, download_url

    target = Path(data_dir) / ARCHIVE
    # Under another name until it is complete: a download that is cut off is never taken for the archive.
    part = target.with_name(f"{ARCHIVE}.part")
    try:
        if not target.is_file() or not check_md5(target, MD5[ARCHIVE]):
            download_url(CIFAR100.url, part.parent, filename=part.name, md5=MD5[ARCHIVE])
            os.replace(part, target)
    except (OSError, HTTPException, RuntimeError) as error:
        remedy = "check the connection and the free space and run `fsft data download cifar100` again"
        raise problem(target, f"the archive from {CIFAR100.url}", str(error), remedy) from None
    return target


def _from_archive(source: Path, split: str) -> ImageSet:
    images, labels, classes = read_archive(source, split)
    counts = np.bincount(labels, minlength=len(classes)).tolist()
    _check_counts(dict(zip(classes, counts, strict=True)), split, source / split, f"delete it and {FIX}")
    return image_set("cifar100", split, images, labels, classes)


def _check_counts(counts: dict[str, int], split: str, root: Path, remedy: str) -> None:
    for name in (*CLASSES, *counts):
        expected = PER_CLASS[split] if name in CLASSES else 0
        found = counts.get(name)
        if found != expected:
            what = "no such class" if found is None else str(found)
            raise problem(root / name, f"{expected} images of class {name!r}", what, remedy)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
