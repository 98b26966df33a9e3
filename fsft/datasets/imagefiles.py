"""Trees of image files with one folder per class: listed, decoded by a thread pool, and
``imagefolder:<path>`` made of them.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from fsft.datasets.cache import cached
from fsft.datasets.imageset import DataError, ImageSet, image_set, problem

# Only these decoders are offered to a file, whatever its content says it is.
FORMATS = ("PNG", "WEBP", "JPEG", "BMP")
SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".bmp")
_BLOCK = 256


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


def folder_entries(path: Path, fix: str) -> list[os.DirEntry[str]]:
    """Entries of a folder by name, without the hidden ones; ``fix`` ends the message of an error."""
    try:
        with os.scandir(path) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
        return sorted(shown, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise problem(path, "a folder", "nothing", fix) from None
    except NotADirectoryError:
        raise problem(path, "a folder", "a file", f"remove it and {fix}") from None
    except PermissionError:
        raise problem(path, "a readable folder", "no permission", "change its permissions") from None


def list_tree(root: Path, fix: str) -> ImageTree:
    """List the images of ``root``/<class>/; other files are ignored. ``fix`` ends the message of an error."""
    classes = [entry.name for entry in folder_entries(root, fix) if entry.is_dir()]
    if not classes:
        raise problem(root, "one folder per class", "none", fix)
    paths: list[Path] = []
    labels: list[int] = []
    digest = hashlib.sha256()
    for label, name in enumerate(classes):
        entries = folder_entries(root / name, fix)
        files = [entry for entry in entries if os.path.splitext(entry.name)[1].lower() in SUFFIXES]
        for entry in sorted(files, key=lambda entry: os.path.splitext(entry.name)):
            try:
                stat = entry.stat()
            except OSError as error:
                raise problem(entry.path, "an image file", str(error.strerror), fix) from None
            paths.append(root / name / entry.name)
            labels.append(label)
            digest.update(os.fsencode(f"{name}/{entry.name} {stat.st_size} {stat.st_mtime_ns}\n"))
    return ImageTree(root, tuple(classes), paths, np.array(labels, dtype=np.int64), digest.hexdigest())


def decode(
    tree: ImageTree,
    transform: Callable[[Image.Image, Path], Image.Image],
    size: int,
    fix: str,
    content: Callable[[Path], bytes] | None = None,
) -> np.ndarray:
    """All images of the tree as uint8 (n, 3, size, size).

    ``transform`` makes a ``size`` x ``size`` RGB image of each file; ``fix`` ends the message of an error.
    ``content`` gives a file's bytes where the paths lie within an archive.
    """
    images = np.empty((len(tree.paths), size, size, 3), dtype=np.uint8)

    def block(start: int) -> int:
        part = tree.paths[start : start + _BLOCK]
        for index, path in enumerate(part, start):
            try:
                file = path if content is None else io.BytesIO(content(path))
                with Image.open(file, formats=FORMATS) as image:
                    images[index] = np.asarray(transform(image, path))
            except DataError:
                raise
            # Pillow's decoders raise many kinds of exception on damaged files.
            except Exception as error:
                found = f"one that cannot be read ({type(error).__name__})"
                raise problem(path, "an image file", found, fix) from None
        return len(part)

    count = len(tree.paths)
    headless = os.environ.get("FSFT_HEADLESS") == "1" or None
    bar = tqdm(total=count, desc=f"decoding {tree.root}", unit=" images", disable=headless, leave=False)
    if bar.disable:
        print(f"decoding {count:,} images of {tree.root} (once; then they are cached)", file=sys.stderr)
    with bar, ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for done in pool.map(block, range(0, count, _BLOCK)):
            bar.update(done)
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def image_folder(path: Path, split: str, data_dir: Path, *, image_size: int = 32, fresh: bool = False) -> ImageSet:
    """``path``/train/<class>/* or ``path``/test/<class>/* (or ``val``), as squares of ``image_size`` pixels.

    The shorter side is resized to ``image_size`` and the center cut out, as torchvision's ``Resize`` and
    ``CenterCrop`` do with PIL images. The classes are the folder names in alphabetical order and must be the
    same in both splits.
    """
    if not isinstance(image_size, int) or image_size < 1:
        raise problem("imagefolder", "image_size to be a positive integer", repr(image_size), "choose one")
    fix = "give imagefolder:<path> a folder with train/<class>/<image> and test/<class>/<image>"
    names = {entry.name for entry in folder_entries(path, fix)}
    held_out = "val" if "val" in names and "test" not in names else "test"
    trees = {"train": list_tree(path / "train", fix), "test": list_tree(path / held_out, fix)}
    odd = sorted(set(trees["train"].classes) ^ set(trees["test"].classes))
    if odd:
        raise problem(path, f"the same classes in train and {held_out}", f"{odd[0]!r} in only one of them", fix)
    tree = trees[split]
    for name, count in tree.counts().items():
        if count == 0:
            raise problem(tree.root / name, f"image files ({', '.join(SUFFIXES)})", "none", fix)

    def transform(image: Image.Image, file: Path) -> Image.Image:
        if image.mode[0] in "IF":  # Pillow would cut off all that is above 255
            raise problem(file, "an image of 8 bits per channel", f"mode {image.mode}", "convert it")
        return center_square(image, image_size)

    def build() -> ImageSet:
        images = decode(tree, transform, image_size, "remove or replace it")
        return image_set(f"imagefolder:{path}", split, images, tree.labels, tree.classes)

    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:12]
    return cached(data_dir, f"imagefolder-{place}-{image_size}-{split}", tree.signature, build, fresh=fresh)


def center_square(image: Image.Image, size: int) -> Image.Image:
    """The shorter side resized to ``size`` pixels, then the central ``size`` x ``size`` square, in RGB."""
    image = image.convert("RGB")
    short, long = sorted(image.size)
    if short != size:
        scaled = size * long // short
        new_size = (size, scaled) if image.width <= image.height else (scaled, size)
        image = image.resize(new_size, Image.Resampling.BILINEAR)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))
