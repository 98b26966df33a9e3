"""Trees of image files with one folder per class: listed, decoded by a thread pool, and ``imagefolder:<path>`` made of
them.
"""

import hashlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from torchvision.transforms.functional import center_crop, resize
from tqdm.contrib.concurrent import thread_map

from fsft.datasets.cache import cached
from fsft.datasets.reading import folder_entries, problem, read_image, stamp
from fsft.datasets.sets import ImageSet, image_set

SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".jfif", ".bmp")


@dataclass(frozen=True, eq=False)
class ImageTree:
    """The image files of one split in canonical order: by class name, then by file name without its suffix.

    ``signature`` changes when a file is added, removed, renamed, or written again; to make it no file is read.
    """

    root: Path
    classes: tuple[str, ...]
    paths: list[Path]
    labels: np.ndarray
    signature: str

    def counts(self) -> dict[str, int]:
        """Number of image files of every class."""
        found = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, found, strict=True))


def class_folders(root: Path, fix: str) -> list[str]:
    """Names of the folders in ``root``, without the hidden ones."""
    classes = [entry.name for entry in folder_entries(root, fix) if entry.is_dir() and not _hidden(entry)]
    if not classes:
        raise problem(root, "one folder per class", "none", fix)
    return classes


def list_tree(root: Path, fix: str, strict: bool = False) -> ImageTree:
    """List the images of ``root``/<class>/; ``fix`` ends the message of an error.

    What is no image by its suffix, or lies elsewhere, is left out, and a line on stderr counts it. With ``strict`` it
    is an error. Hidden files are left out silently, unless they have the suffix of an image.
    """
    classes = class_folders(root, fix)
    loose = [entry for entry in folder_entries(root, fix) if _is_image(entry) and not entry.is_dir()]
    left_out = Counter("beside the class folders" for _ in loose)
    paths: list[Path] = []
    labels: list[int] = []
    digest = hashlib.sha256()
    for label, name in enumerate(classes):
        entries = folder_entries(root / name, fix)
        for entry in sorted(entries, key=lambda entry: os.path.splitext(entry.name)):
            if _hidden(entry) or entry.is_dir() or not _is_image(entry):
                left_out.update(_why_left_out(entry))
                continue
            try:
                status = entry.stat()
            except OSError as error:
                raise problem(entry.path, "an image file", str(error.strerror), fix) from None
            if not stat.S_ISREG(status.st_mode):
                raise problem(entry.path, "an image file", "a pipe or a device", fix)
            paths.append(root / name / entry.name)
            labels.append(label)
            digest.update(os.fsencode(f"{name}/{entry.name} {stamp(status)}\n"))
    if left_out.total():
        counted = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()) if count)
        if strict:
            raise problem(root, "only images in class folders", f"other files: {counted}", "move or convert them")
        print(f"{root}: left out {left_out.total():,} files: {counted}", file=sys.stderr)
    return ImageTree(root, tuple(classes), paths, np.array(labels, dtype=np.int64), digest.hexdigest())


def _hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES


def _why_left_out(entry: os.DirEntry[str]) -> dict[str, int]:
    """Number of files, by the reason for which they are left out."""
    if _hidden(entry):
        return {"hidden": 1} if _is_image(entry) else {}
    if entry.is_dir():
        return {"in sub-folders": sum(len(files) for _, _, files in os.walk(entry.path))}
    suffix = os.path.splitext(entry.name)[1].lower()
    return {f"with the suffix {suffix}" if suffix else "without a suffix": 1}


def decode(
    paths: Sequence[Path],
    size: int,
    where: Path,
    fix: str,
    cut: Callable[[Image.Image, Path], Image.Image] | None = None,
) -> np.ndarray:
    """All images as uint8 (n, 3, size, size): what ``cut`` makes of each; without it they have that size themselves."""
    count = len(paths)

    def exact(image: Image.Image, path: Path) -> Image.Image:
        if image.size != (size, size):
            raise problem(path, f"an image of {size}x{size} pixels", f"{image.width}x{image.height}", fix)
        return image.convert("RGB")

    try:
        images = np.empty((count, size, size, 3), dtype=np.uint8)
    except MemoryError:
        expected = f"memory for {count:,} images of {size}x{size} pixels"
        raise problem(where, expected, "too little", "choose a smaller image_size, or fewer images") from None

    def put(index: int) -> None:
        path = paths[index]
        images[index] = np.asarray(read_image(path, fix, lambda image: (cut or exact)(image, path)))

    headless = os.environ.get("FSFT_HEADLESS") == "1" or not sys.stderr.isatty()
    if headless:
        print(f"decoding {count:,} images of {where} (once; then they are cached)", file=sys.stderr)
    at_once, title = min(8, os.cpu_count() or 1), f"decoding {where}"
    thread_map(put, range(count), max_workers=at_once, desc=title, unit=" images", disable=headless, leave=False)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def image_folder(
    path: Path, split: str, data_dir: Path, *, image_size: int = 32, fresh: bool = False, strict: bool = False
) -> ImageSet:
    """``path``/train/<class>/* or ``path``/test/<class>/* (or ``val``), as squares of ``image_size`` pixels.

    An image is turned as its EXIF tag says; then its shorter side is resized to ``image_size`` and the center cut out,
    as torchvision's ``Resize`` and ``CenterCrop`` do with PIL images. The classes are the folder names in alphabetical
    order and must be the same in both splits. For files that are left out see :func:`list_tree`.
    """
    fix = "give imagefolder:<path> a folder with train/<class>/<image> and test/<class>/<image>"
    names = {entry.name for entry in folder_entries(path, fix)}
    held_out = "val" if "val" in names and "test" not in names else "test"
    odd = sorted(set(class_folders(path / "train", fix)) ^ set(class_folders(path / held_out, fix)))
    if odd:
        raise problem(path, f"the same classes in train and {held_out}", f"{odd[0]!r} in only one of them", fix)
    tree = list_tree(path / ("train" if split == "train" else held_out), fix, strict)
    for name, count in tree.counts().items():
        if count == 0:
            raise problem(tree.root / name, f"image files ({', '.join(SUFFIXES)})", "none", fix)

    def upright(image: Image.Image, file: Path) -> Image.Image:
        if image.mode[0] in "IF":  # Pillow would cut off all that is above 255
            raise problem(file, "an image of 8 bits per channel", f"mode {image.mode}", "convert it")
        return center_square(ImageOps.exif_transpose(image), image_size)

    def build() -> ImageSet:
        images = decode(tree.paths, image_size, tree.root, "remove or replace it", upright)
        return image_set(f"imagefolder:{path}", split, images, tree.labels, tree.classes)

    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    return cached(data_dir, f"imagefolder-{place}-{image_size}-{split}", tree.signature, build, fresh=fresh)


def center_square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to ``size`` pixels, then the central ``size`` x ``size`` square, in RGB."""
    return center_crop(resize(image.convert("RGB"), [size]), [size, size])
