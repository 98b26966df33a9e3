"""Unpacks the official archives of the fine-grained data sets: what ``fsft data unpack`` does.

An archive is opened only after its MD5 was found to be the official one, and unpacked by tarfile's ``data`` filter,
which refuses links and names that lead out of the folder, and devices.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from fsft.datasets import cub, stanford
from fsft.datasets.imageset import problem

# Folder of the archives, from the data folder, and the MD5 of each.
ARCHIVES: dict[str, tuple[str, dict[str, str]]] = {
    cub.NAME: (".", {cub.ARCHIVE: cub.MD5}),
    stanford.DOGS: (stanford.DOGS, stanford.DOGS_ARCHIVES),
    stanford.CARS: (stanford.CARS_FOLDER, stanford.CARS_ARCHIVES),
}


def unpack(name: str, data_dir: Path, say: Callable[[str], None] = print) -> None:
    """Unpack the archives of the data set ``name`` where they lie. What is there already is kept.

    Raises:
        DataError: there is nothing to unpack for this name, an archive is missing, or it is not the official one.
    """
    if name not in ARCHIVES:
        raise problem("data set", ", ".join(ARCHIVES), repr(name), "only these have archives to unpack")
    place, digests = ARCHIVES[name]
    folder = data_dir / place
    missing = [archive for archive in digests if not (folder / archive).is_file()]
    if missing:
        found = f"no {', '.join(missing)}"
        raise problem(folder, f"the official {', '.join(digests)}", found, f"'fsft data check {name}' says from where")
    for archive, md5 in digests.items():
        _unpack(folder / archive, md5, say)


def _unpack(path: Path, md5: str, say: Callable[[str], None]) -> None:
    """Unpack one archive beside itself; each of its top entries appears whole or not at all."""
    remedy = "delete it and get the original"
    with open(path, "rb") as file, tempfile.TemporaryDirectory(prefix=".unpacking-", dir=path.parent) as partial:
        found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5:
            size = f"{path.stat().st_size:,} bytes with MD5 {found}"
            raise problem(path, f"the official archive with MD5 {md5}", size, remedy)
        file.seek(0)  # the same open file: what was checked is what is read
        try:
            with tarfile.open(fileobj=file) as archive:
                archive.extractall(partial, filter="data")
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise problem(path, "an archive of plain files and folders", str(error), remedy) from None
        for entry in sorted(Path(partial).iterdir()):
            target = path.parent / entry.name
            if target.exists():
                say(f"{target} is there already and was kept; delete it to unpack it anew")
            else:
                shutil.move(entry, target)
                say(f"{target} unpacked from {path.name}")
