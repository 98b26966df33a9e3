"""Files that survive a kill at any moment: atomic writes, and one lock per folder; and where a checkout is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


def in_checkout(folder: str | Path) -> Path | None:
    """The folder of this name beside a `_toc.yml` in the working directory or above it; None if there is none.

    Notebooks run in the checkout's `notebooks/`; what they read lies one level up.
    """
    here = Path.cwd()
    for root in (here, *here.parents):
        if (root / "_toc.yml").is_file() and (root / folder).is_dir():
            return root / folder
    return None


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed; the folder is
    flushed too, so that the rename itself lasts.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    fault_point("before open")
    with open(temporary, "wb") as file:
        half = len(content) // 2
        file.write(content[:half])
        fault_point("half written")
        file.write(content[half:])
        file.flush()
        fault_point("before fsync")
        os.fsync(file.fileno())
    fault_point("before rename")
    os.replace(temporary, path)
    fault_point("after rename")
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    fault_point("after folder fsync")


def fault_point(name: str) -> None:
    """Does nothing. The tests replace it to kill the process between two steps of a write."""


def writable_folder(folder: Path) -> None:
    """Make the folder where it is missing, and see that files can be made in it: before hours of work, not after.

    Raises:
        OSError: it is a file, or may not be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"expected a folder that can be written, found {folder} ({error.strerror}): name another"
        ) from None


class FolderLockedError(RuntimeError):
    """Another process works in the folder."""


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the system releases the lock when the process ends, however it ends.

    Raises:
        FolderLockedError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderLockedError(f"{folder} is in use by another process: wait for it, or stop it first") from None
        yield
