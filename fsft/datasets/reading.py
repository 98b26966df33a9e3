"""Opens what lies in a data folder without trusting it: regular files up to a size, images up to a number of pixels."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from PIL import Image

from fsft.runtime.files import open_regular

# Only these decoders are offered to a file, whatever its content says it is.
FORMATS = ("PNG", "WEBP", "JPEG", "BMP")
LIST_BYTES = 16_000_000  # annotations and lists of files
IMAGE_BYTES = 256_000_000
PIXELS = 50_000_000
# The shorter side becomes the network's: an image of 400,000 x 1 pixels would be enlarged to millions of columns.
ELONGATION = 100

T = TypeVar("T")


class DataError(ValueError):
    """A data set is missing, damaged or asked for wrongly."""


def problem(where: object, expected: str, found: str, remedy: str) -> DataError:
    """The one sentence of a ``DataError``: where, what was expected, what was found, what to do."""
    return DataError(f"{where}: expected {expected}, found {found}; {remedy}")


def _unreadable(path: Path, expected: str, error: OSError, fix: str) -> DataError:
    found = {
        FileNotFoundError: "nothing",
        IsADirectoryError: "a folder",
        NotADirectoryError: "a file in place of a folder",
        PermissionError: "no permission",
    }.get(type(error), str(error.strerror))
    return problem(path, expected, found, "change its permissions" if isinstance(error, PermissionError) else fix)


def folder_entries(path: Path, fix: str) -> list[os.DirEntry[str]]:
    """Entries of a folder by name, the hidden ones too; ``fix`` ends the message of an error."""
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(path, "a folder", error, fix) from None


def stamp(status: os.stat_result) -> str:
    """What changes when a file is written again: its size and its times, of which no program sets the last."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def open_file(path: Path, fix: str, limit: int) -> io.BufferedReader:
    """A regular file of at most ``limit`` bytes, open for reading; DataError, which ``fix`` ends, for anything else."""
    try:
        file = open_regular(path)
    except OSError as error:
        raise _unreadable(path, "a file", error, fix) from None
    if (size := os.fstat(file.fileno()).st_size) <= limit:
        return file
    file.close()
    raise problem(path, f"a regular file of at most {limit:,} bytes", f"{size:,} bytes", fix)


def read_file(path: Path, fix: str, limit: int = LIST_BYTES) -> bytes:
    """Content of a file of at most ``limit`` bytes."""
    with open_file(path, fix, limit) as file:
        return file.read()


def as_text(content: bytes, path: Path, fix: str) -> str:
    """Text in UTF-8, without the byte order mark that some editors write."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise problem(path, "text in UTF-8", "other bytes", fix) from None


def read_image(path: Path, fix: str, use: Callable[[Image.Image], T]) -> T:
    """What ``use`` makes of an image, which is not decoded before its size is known.

    DataError, which ``fix`` ends, where it cannot be read or is too large.
    """
    try:
        with open_file(path, fix, IMAGE_BYTES) as file, Image.open(file, formats=FORMATS) as image:
            short, long = sorted(image.size)
            if short * long > PIXELS or long > ELONGATION * short:
                expected = f"an image of at most {PIXELS:,} pixels, at most {ELONGATION} times as long as wide"
                raise problem(path, expected, f"{image.width} x {image.height}", fix)
            return use(image)
    except DataError:
        raise
    except MemoryError:
        raise problem(path, "memory for its pixels", "too little", "close other programs") from None
    # Pillow's decoders raise many kinds of exception on damaged files.
    except Exception as error:
        raise problem(path, "an image file", f"one that cannot be read ({type(error).__name__})", fix) from None
