"""Data sets by name, checked before they are used.

Four are in memory whole, as uint8 tensors; the three fine-grained ones are lists of files. Whatever is wrong with the
data raises ``DataError`` with one sentence: the path, what was expected, what was found, what to do.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsft.datasets import tiny_imagenet
from fsft.datasets.cifar import cifar100, download_cifar100, find_source
from fsft.datasets.fine_grained import CARS, CUB, DOGS, cub200, stanford_cars, stanford_dogs
from fsft.datasets.imagefiles import image_folder
from fsft.datasets.photodigits import photodigits
from fsft.datasets.reading import DataError, problem
from fsft.datasets.sets import IMAGE_SIZE, FileSet, ImageSet, channel_statistics
from fsft.runtime.files import in_checkout

__all__ = ["DataError", "FileSet", "ImageSet", "channel_statistics"]
__all__ += ["check_dataset", "download_cifar100", "load_dataset", "load_split"]

SPLITS = ("train", "test")
OPTIONS: dict[str, tuple[str, ...]] = {
    "photodigits": ("size", "seed", "background_correlation", "background_contrast"),
    "cifar100": (),
    "tiny-imagenet": ("classes",),
    "imagefolder:<path>": ("image_size",),
    CUB: ("image_size",),
    DOGS: ("image_size",),
    CARS: ("image_size",),
}
# Too large for the memory: their images are decoded when they are needed, see fsft.datasets.stream.
STREAMED: dict[str, Callable[[str, Path], FileSet]] = {CUB: cub200, DOGS: stanford_dogs, CARS: stanford_cars}


def find_data(data_dir: str | os.PathLike[str]) -> Path:
    """``data_dir`` as it is, or, where a relative one does not exist, the folder of that name in the checkout above."""
    path = Path(data_dir)
    return path if path.is_absolute() or path.exists() else in_checkout(path) or path


def load_dataset(name: str, split: str, data_dir: str | os.PathLike[str] = "data", **options: Any) -> ImageSet:
    """The ``split`` ("train" or "test") of the data set ``name``.

    ``photodigits``: options ``size``, ``seed``, ``background_correlation`` and ``background_contrast``; nothing is
    read from ``data_dir``. ``cifar100``: no options. ``tiny-imagenet``: option ``classes``, "all" or "available" (see
    ``fsft.datasets.tiny_imagenet``). ``imagefolder:<path>``: option ``image_size`` (32). The last three keep
    their decoded images in ``data_dir``/.fsft-cache. DataError: the name, split or an option is unknown, or the data is
    missing, incomplete or damaged.
    """
    if name in STREAMED:
        raise problem(name, "a data set that fits into memory", "one that streams", "use load_split")
    return _load(name, split, data_dir, options)


def load_split(
    name: str, split: str, data_dir: str | os.PathLike[str] = "data", /, **options: Any
) -> ImageSet | FileSet:
    """What a recipe trains or tests on: what :func:`load_dataset` gives, or one of the sets whose images stay in files.

    These are ``cub200``, ``stanford-dogs`` and ``stanford-cars``, with the option ``image_size`` (224), the side of the
    squares that networks see; :mod:`fsft.datasets.stream` says how they are cut. Each is the official archive, unpacked
    in ``data_dir``: ``CUB_200_2011/``, ``stanford-dogs/`` with ``Images/``, ``Annotation/`` and the lists,
    ``stanford_cars/`` with ``cars_train/``, ``cars_test/`` and ``devkit/``.
    """
    return _load(name, split, data_dir, options)


def _load(name: str, split: str, data_dir: str | os.PathLike[str], options: dict[str, Any], **checks: bool) -> Any:
    """A set by name; ``checks`` are ``fresh``, which reads no cached copy, and ``strict``, which leaves no file out."""
    kind, colon, place = name.partition(":")
    known = OPTIONS.get(f"{kind}:<path>" if place else name)
    if known is None or (colon and not place):
        raise problem("data set", ", ".join(OPTIONS), repr(name), "choose one of these")
    if split not in SPLITS:
        raise problem(name, "split 'train' or 'test'", repr(split), "choose one of these")
    for option in options:
        if option not in known:
            expected = f"the options {', '.join(known)}" if known else "no options"
            raise problem(name, expected, f"the unknown option {option!r}", "leave it out")
    size = options.get("image_size", IMAGE_SIZE)
    if not isinstance(size, int) or size < 1:
        raise problem(name, "image_size to be a positive integer", repr(size), "choose one")
    folder = find_data(data_dir)
    if kind == "photodigits":
        return photodigits(split, **options)
    if kind == "cifar100":
        return cifar100(split, folder, **checks)
    if kind == "tiny-imagenet":
        return tiny_imagenet.tiny_imagenet(split, folder, fresh=checks.get("fresh", False), **options)
    if kind == "imagefolder":
        return image_folder(Path(place), split, folder, **options, **checks)
    return replace(STREAMED[name](split, folder), image_size=size)


def check_dataset(name: str, data_dir: str | os.PathLike[str] = "data", *, strict: bool = False) -> str:
    """Read every image of both splits from its file, not from the cache, and report what is there.

    DataError: something is missing, incomplete or damaged; or with ``strict``, a file in a class folder is not read.
    """
    find = {"cifar100": find_source, "tiny-imagenet": tiny_imagenet.find_source}.get(name)
    lines = [name if find is None else f"{name}, read from {find(find_data(data_dir))}"]
    for split in SPLITS:
        data = _load(name, split, data_dir, {}, fresh=True, strict=strict)
        counts = data.labels.bincount(minlength=data.num_classes)
        classes = f"{data.num_classes} classes, {int(counts.min())} to {int(counts.max())} per class"
        if isinstance(data, FileSet):
            extents = data.extents()
            size = " by ".join(f"{low} to {high}" for low, high in zip(extents.min(0), extents.max(0), strict=True))
            lines.append(f"{split}: {len(data):,} images of {size} pixels, {classes}")
            lines.append(f"  SHA-256 of the list {data.sha256}")
            continue
        shape = "x".join(map(str, data.images.shape[1:]))
        lines += [f"{split}: {len(data):,} images of {shape}, {classes}", f"  SHA-256 {data.sha256}"]
        for what, values in zip(("mean", "std "), channel_statistics(data.images), strict=True):
            lines.append(f"  channel {what} {', '.join(f'{value:.8f}' for value in values.tolist())}")
    return "\n".join(lines)
