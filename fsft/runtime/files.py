"""Files that survive a kill at any moment: atomic writes, and one lock per run; and where a checkout is."""

import contextlib
import errno
import io
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_held: set[IO[str]] = set()
if hasattr(os, "register_at_fork"):
    # A lock belongs to all who inherit it: workers that outlive a killed run by seconds would keep the next one out.
    os.register_at_fork(after_in_child=lambda: [file.close() for file in _held])


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
    """Write a file whole or not at all; with OSError, for instance of a full disk, what was there before is kept.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed; the folder is
    flushed too, so that the rename itself lasts.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
    except OSError as error:
        why = f"expected to write {len(content):,} bytes, found: {error.strerror}"
        raise OSError(f"{path}: {why}; make room, or name another folder, and call again") from None
    finally:
        with contextlib.suppress(OSError):  # there is none after the renaming
            temporary.unlink()
    fault_point("after rename")
    if hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        folder = os.open(path.parent, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    fault_point("after folder fsync")


def open_regular(path: Path) -> io.BufferedReader:
    """A regular file, open for reading; OSError for anything else, such as a pipe, which would wait for its writer."""
    at_once = getattr(os, "O_NONBLOCK", 0)  # Windows has no such pipes, and no such flag
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | at_once))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "a pipe or a device", str(path))
    return file


def fault_point(name: str) -> None:
    """Does nothing. The tests replace it to kill the process between two steps of a write."""


def writable_folder(folder: Path) -> None:
    """Make the folder where it is missing, and see that files can be made in it: before hours of work, not after."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        found = f"{folder} ({error.strerror})"
        raise OSError(f"expected a folder that can be written, found {found}: name another") from None


class FolderLockedError(RuntimeError):
    """Another process works in the folder."""


@contextlib.contextmanager
def run_lock(folder: Path | None, result: Path | None = None) -> Iterator[None]:
    """Hold a run's folder and its result file; the system releases them when the process ends, however it ends.

    The lock beside the result, for runs that keep their files elsewhere, is gone when the result is there. Where the
    system has no such locks, a warning says so. FolderLockedError: another process holds one of them.
    """
    with contextlib.ExitStack() as stack:
        for held in filter(None, (folder, result)):
            path = held / "lock" if held == folder else held.with_suffix(".lock")
            writable_folder(path.parent)
            file = stack.enter_context(open(path, "a"))
            _held.add(file)
            stack.callback(_held.discard, file)
            if fcntl is None:
                warnings.warn("this system has no fcntl, so no locks: start no run twice at a time", stacklevel=4)
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"{held} is in use by another process: wait for it, or stop it first"
                raise FolderLockedError(message) from None
        yield
        if result is not None and result.exists():
            result.with_suffix(".lock").unlink(missing_ok=True)
