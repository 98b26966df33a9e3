"""Files of a data set in its official layout: from the unpacked folder, or from the zip archive in memory.

Nothing is ever extracted, so no name in an archive can lead out of a folder.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsft.datasets.imagefiles import folder_entries
from fsft.datasets.imageset import problem

TEXT_LIMIT = 64_000_000


class Unpacked:
    """The files under a folder ``root``; ``fix`` ends the message of an error."""

    def __init__(self, root: Path, fix: str):
        self.root, self.fix = root, fix

    def names(self, folder: str) -> dict[str, int]:
        """Entries of a folder, without the hidden ones, and their bytes."""
        return {entry.name: entry.stat().st_size for entry in folder_entries(self.root / folder, self.fix)}

    def read(self, name: str, limit: int = TEXT_LIMIT) -> bytes:
        """Content of a file of at most ``limit`` bytes."""
        return read_file(self.root / name, self.fix, limit)

    def text(self, name: str) -> str:
        """Content of a UTF-8 text file."""
        return _decoded(self.read(name), self.root / name, self.fix)


class Packed:
    """The same for the members of a zip archive below a top folder, see :func:`open_zip`."""

    def __init__(self, archive: zipfile.ZipFile, file: Path, top: str, fix: str):
        self.archive, self.top, self.root, self.fix = archive, top, file / top, fix
        self.folders: dict[str, dict[str, int]] = {}
        for info in archive.infolist():
            path, size = info.filename.rstrip("/"), info.file_size
            # An archive need not have entries for its folders.
            while path:
                folder, _, name = path.rpartition("/")
                self.folders.setdefault(folder, {}).setdefault(name, size)
                path, size = folder, 0

    def names(self, folder: str) -> dict[str, int]:
        """Members of a folder and their bytes."""
        try:
            return dict(sorted(self.folders[f"{self.top}/{folder}"].items()))
        except KeyError:
            raise problem(self.root / folder, "a folder of the archive", "nothing", self.fix) from None

    def read(self, name: str) -> bytes:
        """Content of a member, checked by zip's own CRC."""
        try:
            return self.archive.read(f"{self.top}/{name}")
        except (KeyError, zipfile.BadZipFile) as error:
            raise problem(self.root / name, "an intact member", str(error), self.fix) from None

    def text(self, name: str) -> str:
        """Content of a UTF-8 text file."""
        return _decoded(self.read(name), self.root / name, self.fix)


@contextmanager
def open_zip(path: Path, top: str, sha256: str, fix: str) -> Iterator[Packed]:
    """The archive's files, after its SHA-256 has been found to be the official one.

    Raises:
        DataError: it is another file, or cannot be read.
    """
    remedy = f"delete it and {fix}"
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256:
                size = f"{path.stat().st_size:,} bytes with SHA-256 {found}"
                raise problem(path, f"the official archive with SHA-256 {sha256}", size, remedy)
            # The same open file: what was checked is what is read.
            with zipfile.ZipFile(file) as archive:
                yield Packed(archive, path, top, remedy)
    except (OSError, zipfile.BadZipFile) as error:
        raise problem(path, "a readable zip archive", str(error), remedy) from None


def read_file(path: Path, fix: str, limit: int = TEXT_LIMIT) -> bytes:
    """Content of a file of at most ``limit`` bytes; ``fix`` ends the message of an error."""
    try:
        with open(path, "rb") as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise problem(path, "a file", "nothing", fix) from None
    except OSError as error:
        raise problem(path, "a readable file", str(error.strerror), fix) from None
    if len(content) > limit:
        raise problem(path, f"at most {limit:,} bytes", "more", fix)
    return content


def _decoded(content: bytes, path: Path, fix: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise problem(path, "text in UTF-8", "other bytes", fix) from None
