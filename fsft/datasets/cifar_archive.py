"""The official archive of CIFAR-100, read without trusting it.

The archive holds pickles, and a pickle can run any code. So it is never unpacked, and its pickles never reach
``pickle.load``: first the official MD5 is checked, then the members are read into memory, and there an
unpickler takes them apart that knows nothing but the parts of a uint8 array.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fsft.datasets.imageset import problem

ARCHIVE = "cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"
ARCHIVE_BYTES = 169_001_437
MEMBER_LIMIT = 200_000_000
MD5 = {
    ARCHIVE: "eb9058c3a382ffc7106e4002c42a8d85",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
FIX = "run `fsft data download cifar100`"


def read_archive(source: Path, split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Images uint8 (n, 3, 32, 32), labels int64 (n,) and class names of a split.

    The order is by class, then by file name. ``source`` is the archive or its unpacked folder. Raises
    ``DataError`` unless the MD5 of every file is the official one.
    """
    try:
        packed = source.name == ARCHIVE
        members = _packed_members(source, split) if packed else _folder_members(source, split)
    except FileNotFoundError as error:
        raise problem(error.filename, "a file of the official archive", "nothing", FIX) from None
    except (IsADirectoryError, NotADirectoryError) as error:
        found = "a folder" if isinstance(error, IsADirectoryError) else "a file in place of its folder"
        raise problem(error.filename, "a file of the official archive", found, f"remove it and {FIX}") from None
    except PermissionError as error:
        raise problem(error.filename, "a readable file", "no permission", "change its permissions") from None
    where, remedy = source / split, f"delete it and {FIX}"
    contents = {name: _verified(content, source / name, MD5[name]) for name, content in members.items()}
    try:
        fields = _unpickle(contents[split])
        classes = tuple(name.decode() for name in _unpickle(contents["meta"])[b"fine_label_names"])
        names = [name.decode().rpartition(".")[0] for name in fields[b"filenames"]]
        labels = np.array(fields[b"fine_labels"], dtype=np.int64)
        images = fields[b"data"].pixels().reshape(len(names), 3, 32, 32)
        if not 0 <= labels.min() <= labels.max() < len(classes):
            raise ValueError(f"labels from {labels.min()} to {labels.max()} for {len(classes)} classes")
        order = sorted(range(len(names)), key=lambda index: (labels[index], names[index]))
        return images[order], labels[order], classes
    # The parts of a pickle can be wrong in every way; nothing of it has been used by now.
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        raise problem(where, "the fields of CIFAR-100's python version", found, remedy) from None


def _verified(content: bytes, path: Path, md5: str) -> bytes:
    """``content`` if it has the official MD5."""
    remedy = f"delete it and {FIX}"
    if content[:64].lstrip().startswith(b"<"):
        raise problem(path, "a file of CIFAR-100", "a web page", remedy)
    if path.name == ARCHIVE and len(content) < ARCHIVE_BYTES:
        found = f"{len(content):,} (a download that was cut off)"
        raise problem(path, f"{ARCHIVE_BYTES:,} bytes", found, remedy)
    found_md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found_md5 != md5:
        raise problem(path, f"the official file with MD5 {md5}", f"one with MD5 {found_md5}", remedy)
    return content


def _packed_members(path: Path, split: str) -> dict[str, bytes]:
    with open(path, "rb") as file:
        content = _verified(file.read(ARCHIVE_BYTES + 1), path, MD5[ARCHIVE])
    members = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for name in (split, "meta"):
                member = archive.getmember(f"{FOLDER}/{name}")
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise tarfile.TarError(f"{member.name}, which is not a plain file")
                members[name] = stream.read(MEMBER_LIMIT)
    # Truncated streams and wrong headers surface as many kinds of exception.
    except Exception as error:
        raise problem(path, f"{FOLDER}/{split} and meta in it", str(error), f"delete it and {FIX}") from None
    return members


def _folder_members(folder: Path, split: str) -> dict[str, bytes]:
    members = {}
    for name in (split, "meta"):
        with open(folder / name, "rb") as file:
            members[name] = file.read(MEMBER_LIMIT)
    return members


class _Array:
    """Stands in for a pickled ``numpy.ndarray``: keeps its state and runs no numpy code on it."""

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.state = state

    def pixels(self) -> np.ndarray:
        _, shape, dtype, fortran_order, content = self.state
        if dtype.code != b"u1" or not isinstance(content, bytes):
            raise ValueError(f"an array of type {dtype.code!r}, not uint8")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _Dtype:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: bytes, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Sequence[Any]) -> None:
        """Byte order and alignment: of no matter for single bytes."""


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name}, which CIFAR-100 does not use")
        return _ALLOWED[module, name]


def _unpickle(content: bytes) -> dict[bytes, Any]:
    # The official files were written by Python 2, whose strings are bytes.
    return dict(_Unpickler(io.BytesIO(content), encoding="bytes").load())
