"""CIFAR-100 in miniature: three classes in the real layouts, written as the official files were."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fsft.datasets import cifar
from fsft.datasets.cifar import ARCHIVE, FOLDER, MD5
from fsft.datasets.sets import ImageSet, image_set

CLASSES = ("apple", "bear", "worm")
PER_CLASS = {"train": 3, "test": 2}


def python2_pickle(value) -> bytes:
    """``value`` pickled like the official files, by Python 2 and numpy 1: protocol 2, strings are bytes."""

    def parts(value) -> bytes:
        if value is None:
            return b"N"
        if isinstance(value, bool):
            return b"\x88" if value else b"\x89"
        if isinstance(value, int):
            return b"J" + struct.pack("<i", value)
        if isinstance(value, bytes):
            return b"T" + struct.pack("<i", len(value)) + value
        if isinstance(value, tuple):
            return b"(" + b"".join(map(parts, value)) + b"t"
        if isinstance(value, list):
            return b"](" + b"".join(map(parts, value)) + b"e"
        if isinstance(value, dict):
            return b"}(" + b"".join(parts(part) for pair in value.items() for part in pair) + b"u"
        assert isinstance(value, np.ndarray)
        fortran = not value.flags.c_contiguous
        code = value.dtype.str[1:].encode()
        dtype = b"cnumpy\ndtype\n" + parts((code, 0, 1)) + b"R" + parts((3, b"|", None, None, None, -1, -1, 0)) + b"b"
        head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + parts((0,)) + parts(b"b") + b"tR"
        content = value.tobytes(order="F" if fortran else "C")
        return head + b"(" + parts(1) + parts(value.shape) + dtype + parts(fortran) + parts(content) + b"tb"

    return b"\x80\x02" + parts(value) + b"."


def split_fields(split: str, fortran: bool = False) -> dict:
    """The fields of a split, in an order that is neither by class nor by name."""
    generator = np.random.default_rng(len(split))
    count = 3 * PER_CLASS[split]
    labels = np.arange(count)[::-1] % 3
    pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
    # Names that sort in another way as numbers, or with their suffix: "b_s-1.png" comes before "b_s.png".
    stems = ["b_s_10", "k", "b_s", "b_s_9", "z1", "b_s-1", "b_s_1", "a_s_000001", "m"][:count]
    return {
        b"filenames": [f"{stem}.png".encode() for stem in stems],
        b"batch_label": b"the batch",
        b"fine_labels": labels.tolist(),
        b"coarse_labels": [0] * count,
        b"data": np.asfortranarray(pixels) if fortran else pixels,
    }


META = {b"fine_label_names": [name.encode() for name in CLASSES], b"coarse_label_names": [b"things"]}


def expected(split: str) -> ImageSet:
    """The split as it must be read, by class and then by name without its suffix."""
    fields = split_fields(split)
    stems = [name.decode()[:-4] for name in fields[b"filenames"]]
    order = sorted(range(len(stems)), key=lambda index: (fields[b"fine_labels"][index], stems[index]))
    labels = np.array(fields[b"fine_labels"])[order]
    return image_set("cifar100", split, fields[b"data"].reshape(-1, 3, 32, 32)[order], labels, CLASSES)


def official_files() -> dict[str, bytes]:
    files = {split: python2_pickle(split_fields(split)) for split in PER_CLASS}
    return {**files, "meta": python2_pickle(META)}


def write_tree(root: Path, suffix: str = ".png") -> None:
    for split in PER_CLASS:
        fields = split_fields(split)
        for name, label, row in zip(fields[b"filenames"], fields[b"fine_labels"], fields[b"data"], strict=True):
            path = root / "cifar100" / split / CLASSES[label] / f"{Path(name.decode()).stem}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0))
            image.save(path, **({"lossless": True, "exact": True} if suffix == ".webp" else {}))


def write_folder(root: Path, files: dict[str, bytes]) -> None:
    (root / FOLDER).mkdir(parents=True)
    for name, content in files.items():
        (root / FOLDER / name).write_bytes(content)


def pack(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """The files as the archive; the same bytes at every call."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def declare_official(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], archive: bytes = b"") -> None:
    """Make these files, for one test, the ones that the checksums and counts expect."""
    monkeypatch.setattr(cifar, "NUM_CLASSES", len(CLASSES))
    monkeypatch.setattr(cifar, "PER_CLASS", PER_CLASS)
    monkeypatch.setattr(cifar, "SHA256", {split: expected(split).sha256 for split in PER_CLASS})
    for name, content in {**files, ARCHIVE: archive}.items():
        monkeypatch.setitem(MD5, name, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(cifar, "ARCHIVE_BYTES", len(archive))
