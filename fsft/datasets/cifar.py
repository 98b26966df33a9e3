"""CIFAR-100 from the official archive, its unpacked folder, or a tree of class folders: the same arrays from each.

The archive holds pickles, and a pickle can run any code. So it is never unpacked: its MD5 must be the official one, its
members are read into memory, and an unpickler takes them apart that knows nothing but the parts of an array.
"""

import hashlib
import io
import os
import pickle
import tarfile
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from fsft.datasets.cache import cached
from fsft.datasets.imagefiles import ImageTree, decode, list_tree
from fsft.datasets.reading import folder_entries, problem, read_file, stamp
from fsft.datasets.sets import ImageSet, image_set

ARCHIVE = "cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"
TREE = "cifar100"
ARCHIVE_BYTES = 169_001_437
MEMBER_BYTES = 200_000_000
MD5 = {
    ARCHIVE: "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
# Fingerprints of the decoded images in canonical order: a class-folder tree has no MD5 of its own to check.
SHA256 = {
    "train": "caae2e7b0bcfd51b937a55ce10021ac7545fadacf125b39d92115bb1b09274a9",
    "test": "4e8a12445e37201c45304b3bc53adfd8bd6d4753ee8f0eb6a3c9924b84769488",
}
PER_CLASS = {"train": 500, "test": 100}
SIZE = 32
FIX = "run `fsft data download cifar100`"
NUM_CLASSES = 100


def cifar100(split: str, data_dir: Path, *, fresh: bool = False, strict: bool = False) -> ImageSet:
    """The ``split`` of CIFAR-100 found in ``data_dir``, by class and then by original file name.

    Of ``cifar-100-python.tar.gz``, ``cifar-100-python/`` and ``cifar100/{train,test}/<class>/<file>.webp`` (or .png) it
    takes the first that exists; if that is damaged it is an error, never a reason to take the next.
    """
    source = find_source(data_dir)
    if source.name == TREE:
        tree = list_tree(source / split, FIX, strict)
        _check_counts(tree, split)
        signature = f"{TREE} {tree.signature}"
    else:
        files = [source] if source.name == ARCHIVE else [source / split, source / "meta"]
        signature = " ".join(f"{file.name} {stamp(file.stat()) if os.path.exists(file) else None}" for file in files)

    def build() -> ImageSet:
        if source.name == TREE:
            images = decode(tree.paths, SIZE, tree.root, FIX)
            data = image_set("cifar100", split, images, tree.labels, tree.classes)
        else:
            data = _from_archive(source, split)
        if data.sha256 != SHA256[split]:
            found = f"other pixels or file names (SHA-256 {data.sha256})"
            raise problem(source / split, f"CIFAR-100's images (SHA-256 {SHA256[split]})", found, FIX)
        return data

    return cached(data_dir, f"cifar100-{split}", signature, build, fresh=fresh, sha256=SHA256[split])


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
        there = target.is_file() and target.stat().st_size == ARCHIVE_BYTES
        if not there or not check_md5(target, MD5[ARCHIVE]):
            part.unlink(missing_ok=True)
            download_url(CIFAR100.url, part.parent, filename=part.name, md5=MD5[ARCHIVE])
            os.replace(part, target)
    except (OSError, HTTPException, RuntimeError) as error:
        remedy = "check the connection and the free space and run `fsft data download cifar100` again"
        raise problem(target, f"the archive from {CIFAR100.url}", str(error), remedy) from None
    return target


def _check_counts(tree: ImageTree, split: str) -> None:
    """A message about a class that is incomplete says more than one about the fingerprint."""
    if len(tree.classes) != NUM_CLASSES:
        raise problem(tree.root, f"the folders of {NUM_CLASSES} classes", f"{len(tree.classes)}", FIX)
    for name, count in tree.counts().items():
        if count != PER_CLASS[split]:
            raise problem(tree.root / name, f"{PER_CLASS[split]} images", str(count), FIX)


def _from_archive(source: Path, split: str) -> ImageSet:
    """The images of the archive or of its unpacked folder, by class and then by file name."""
    contents = _packed_members(source, split) if source.name == ARCHIVE else {}
    for name in (split, "meta"):
        if source.name == FOLDER:
            contents[name] = read_file(source / name, FIX, MEMBER_BYTES)
        _check_md5(contents[name], source / name)
    try:
        fields, meta = (_Unpickler(io.BytesIO(contents[name]), encoding="bytes").load() for name in (split, "meta"))
        names = [name.decode().rpartition(".")[0] for name in fields[b"filenames"]]
        labels, pixels = np.array(fields[b"fine_labels"]), fields[b"data"].reshape(len(names), 3, SIZE, SIZE)
        order = sorted(range(len(names)), key=lambda index: (labels[index], names[index]))
        classes = tuple(name.decode() for name in meta[b"fine_label_names"])
        return image_set("cifar100", split, pixels[order], labels[order], classes)
    # The parts of a pickle can be wrong in every way; nothing of it has been used by now.
    except Exception as error:
        found = " ".join(f"{type(error).__name__}: {error}".split())
        raise problem(source / split, "the fields of CIFAR-100's python version", found, FIX) from None


def _check_md5(content: bytes, path: Path) -> None:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if content[:64].lstrip().startswith(b"<"):
        raise problem(path, "a file of CIFAR-100", "a web page", FIX)
    if path.name == ARCHIVE and len(content) < ARCHIVE_BYTES:
        raise problem(path, f"{ARCHIVE_BYTES:,} bytes", f"{len(content):,} (a download that was cut off)", FIX)
    if found != MD5[path.name]:
        raise problem(path, f"the official file with MD5 {MD5[path.name]}", f"one with MD5 {found}", FIX)


def _packed_members(path: Path, split: str) -> dict[str, bytes]:
    content = read_file(path, FIX, ARCHIVE_BYTES)
    _check_md5(content, path)  # so the archive is the official one, whose members are plain files of known sizes
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        streams = {name: archive.extractfile(f"{FOLDER}/{name}") for name in (split, "meta")}
        return {name: stream.read(MEMBER_BYTES) for name, stream in streams.items() if stream is not None}


class _Unpickler(pickle.Unpickler):
    """Makes arrays and plain values, whatever a file asks for."""

    def find_class(self, module: str, name: str) -> Any:
        parts: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
            ("numpy", "ndarray"): np.ndarray,
            # A copy, because the state that follows is written into it; NumPy warns of the 0 in place of False.
            ("numpy", "dtype"): lambda code, *_: np.dtype(code, False, True),
        }
        if (module, name) not in parts:
            raise pickle.UnpicklingError(f"{module}.{name}, which CIFAR-100 does not use")
        return parts[module, name]
