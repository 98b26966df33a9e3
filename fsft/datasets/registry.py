"""Data sets by name, checked before they are used.

``photodigits`` needs no download; ``cifar100``, ``tiny-imagenet`` and ``imagefolder:<path>`` are read from files and
cached decoded. These four are in memory whole, as uint8 tensors; the three fine-grained data sets are lists of files,
whose images are decoded when they are needed. Whatever is wrong with the data raises ``DataError`` with one sentence:
the path, what was expected, what was found, what to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsft.datasets.cifar import cifar100, download_cifar100, find_source
from fsft.datasets.cub import cub200
from fsft.datasets.fileset import IMAGE_SIZE, FileSet
from fsft.datasets.imagefiles import image_folder
from fsft.datasets.imageset import DataError, ImageSet, channel_statistics, problem
from fsft.datasets.photodigits import photodigits
from fsft.datasets.stanford import stanford_cars, stanford_dogs
from fsft.datasets.tiny_imagenet import find_source as find_tiny_imagenet
from fsft.datasets.tiny_imagenet import tiny_imagenet
from fsft.runtime.files import in_checkout

__all__ = [
    "DataError",
    "FileSet",
    "ImageSet",
    "channel_statistics",
    "check_dataset",
    "download_cifar100",
    "load_dataset",
    "load_files",
    "load_split",
]

SPLITS = ("train", "test")
NAMES = ("photodigits", "cifar100", "tiny-imagenet", "imagefolder:<path>", "cub200", "stanford-dogs", "stanford-cars")
OPTIONS = {
    "photodigits": ("size", "seed", "background_correlation", "background_contrast"),
    "cifar100": (),
    "tiny-imagenet": ("classes",),
    "imagefolder": ("image_size",),
}
# Too large for the memory: their images are decoded when they are needed, see fsft.datasets.stream.
STREAMED = {"cub200": cub200, "stanford-dogs": stanford_dogs, "stanford-cars": stanford_cars}


def find_data(data_dir: str | os.PathLike[str]) -> Path:
    """``data_dir`` as it is, or, where a relative one does not exist, the folder of that name in the checkout above."""
    path = Path(data_dir)
    return path if path.is_absolute() or path.exists() else in_checkout(path) or path


def load_dataset(name: str, split: str, data_dir: str | os.PathLike[str] = "data", **options: Any) -> ImageSet:
    """The ``split`` ("train" or "test") of the data set ``name``.

    ``photodigits``: options ``size``, ``seed``, ``background_correlation`` and ``background_contrast``; nothing is
    read from ``data_dir``. ``cifar100``: no options. ``tiny-imagenet``: option ``classes``, "all" or "available" (see
    ``fsft.datasets.tiny_imagenet``). ``imagefolder:<path>``: option ``image_size`` (32). The last three keep
    their decoded images in ``data_dir``/.fsft-cache.

    Raises:
        DataError: the name, split or an option is unknown, or the data is missing, incomplete or damaged.
    """
    return _load(name, split, find_data(data_dir), options)


def load_files(
    name: str, split: str, data_dir: str | os.PathLike[str] = "data", *, image_size: int = IMAGE_SIZE
) -> FileSet:
    """The ``split`` of ``cub200``, ``stanford-dogs`` or ``stanford-cars``: their images stay in files.

    Networks see squares of ``image_size`` pixels, see :mod:`fsft.datasets.stream` for how they are cut.

    Each is the official archive, unpacked (``fsft data unpack`` does it): ``CUB_200_2011/``, ``stanford-dogs/`` with
    ``Images/``, ``Annotation/`` and the lists, ``stanford_cars/`` with ``cars_train/``, ``cars_test/`` and ``devkit/``,
    in ``data_dir``.

    Raises:
        DataError: the name or split is unknown, or the data is missing, incomplete or damaged.
    """
    if name not in STREAMED:
        raise problem("data set", ", ".join(STREAMED), repr(name), "choose one of these")
    if split not in SPLITS:
        raise problem(name, "split 'train' or 'test'", repr(split), "choose one of these")
    if not isinstance(image_size, int) or image_size < 1:
        raise problem(name, "image_size to be a positive integer", repr(image_size), "choose one")
    return replace(STREAMED[name](split, find_data(data_dir)), image_size=image_size)


def load_split(
    name: str, split: str, data_dir: str | os.PathLike[str] = "data", /, **options: Any
) -> ImageSet | FileSet:
    """What a recipe trains or tests on: :func:`load_files` for the streamed data sets, else :func:`load_dataset`."""
    if name not in STREAMED:
        return _load(name, split, find_data(data_dir), options)
    _check_options(name, options, ("image_size",))
    return load_files(name, split, data_dir, **options)


def _load(name: str, split: str, data_dir: Path, options: dict[str, Any], *, fresh: bool = False) -> ImageSet:
    kind, _, place = name.partition(":")
    if name in STREAMED:
        raise problem(name, "a data set that fits into memory", "one that streams", "use load_files")
    if kind not in OPTIONS or (kind == "imagefolder") != bool(place):
        raise problem("data set", ", ".join(NAMES), repr(name), "choose one of these")
    if split not in SPLITS:
        raise problem(name, "split 'train' or 'test'", repr(split), "choose one of these")
    _check_options(name, options, OPTIONS[kind])
    if kind == "photodigits":
        return photodigits(split, **options)
    if kind == "cifar100":
        return cifar100(split, data_dir, fresh=fresh)
    if kind == "tiny-imagenet":
        return tiny_imagenet(split, data_dir, fresh=fresh, **options)
    return image_folder(Path(place), split, data_dir, fresh=fresh, **options)


def _check_options(name: str, options: Iterable[str], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            expected = f"the options {', '.join(known)}" if known else "no options"
            raise problem(name, expected, f"the unknown option {option!r}", "leave it out")


def check_dataset(name: str, data_dir: str | os.PathLike[str] = "data") -> str:
    """Read every image of both splits from its file, not from the cache, and report what is there.

    Raises:
        DataError: something is missing, incomplete or damaged.
    """
    if name in STREAMED:
        return "\n".join([name, *(line for split in SPLITS for line in load_files(name, split, data_dir).report())])
    lines, folder = [name], find_data(data_dir)
    if name == "cifar100":
        lines = [f"{name}, read from {find_source(folder)}"]
    elif name == "tiny-imagenet":
        lines = [f"{name}, read from {find_tiny_imagenet(folder)}"]
    for split in SPLITS:
        data = _load(name, split, folder, {}, fresh=True)
        counts = data.labels.bincount(minlength=data.num_classes)
        mean, std = channel_statistics(data.images)
        _, channels, height, width = data.images.shape
        lines += [
            f"{split}: {len(data):,} images of {channels}x{height}x{width}, {data.num_classes} classes, "
            f"{int(counts.min())} to {int(counts.max())} per class",
            f"  SHA-256 {data.sha256}",
            f"  channel mean {', '.join(f'{value:.8f}' for value in mean.tolist())}",
            f"  channel std  {', '.join(f'{value:.8f}' for value in std.tolist())}",
        ]
    return "\n".join(lines)
