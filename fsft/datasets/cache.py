"""Decoded data sets kept as uint8 arrays beside the data: written atomically, verified when loaded, rebuilt
when in doubt.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from fsft.datasets.sets import ImageSet, fingerprint

FOLDER = ".fsft-cache"


def cached(
    data_dir: Path,
    key: str,
    signature: str,
    build: Callable[[], ImageSet],
    *,
    fresh: bool = False,
    sha256: str | None = None,
) -> ImageSet:
    """The result of ``build()``, or the copy of it that an earlier call stored.

    The copy is ``data_dir``/.fsft-cache/``key``.npz. It is used when it was stored with the same ``signature``, its
    content still has the stored fingerprint, and this is ``sha256`` where that is known. Otherwise, or with ``fresh``,
    the data set is built again and stored; except with ``fresh``, a line on stderr says why.
    """
    path = data_dir / FOLDER / f"{key}.npz"
    if not fresh and os.path.exists(path):
        try:
            data, stored_signature = _load(path, sha256)
            if stored_signature == signature:
                return data
            print(f"{path}: the data set has changed since it was cached; reading it again", file=sys.stderr)
        except Exception as error:  # a damaged file can make zipfile, numpy and json raise nearly anything
            why = f"{type(error).__name__}: {error}"
            print(f"{path}: the cached copy cannot be used ({why}); reading the data set again", file=sys.stderr)
    data = build()
    try:
        _store(path, data, signature)
    except Timeout:
        pass  # another process is writing the same images
    except OSError as error:
        why = f"the decoded images cannot be cached there ({error.strerror}); going on without"
        print(f"{path}: {why}", file=sys.stderr)
    return data


def _load(path: Path, sha256: str | None) -> tuple[ImageSet, str]:
    with np.load(path, allow_pickle=False) as arrays:
        header = json.loads(str(arrays["header"]))
        images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        boxes = torch.from_numpy(arrays["boxes"]) if "boxes" in header else None
    classes = tuple(header["classes"])
    found = fingerprint(images, labels, classes)
    for expected in (header["sha256"], sha256 or found):
        if found != expected:
            raise ValueError(f"expected SHA-256 {expected}, found {found}")
    # The fingerprint is of what a network learns from; boxes have a checksum of their own.
    if boxes is not None and _sha256(boxes) != header["boxes"]:
        raise ValueError(f"expected boxes with SHA-256 {header['boxes']}, found {_sha256(boxes)}")
    return ImageSet(header["name"], header["split"], images, labels, classes, found, boxes=boxes), header["signature"]


def _sha256(values: Tensor) -> str:
    content = values.contiguous().numpy()
    return hashlib.sha256(f"{content.dtype.str} {content.shape} ".encode() + content.tobytes()).hexdigest()


def _store(path: Path, data: ImageSet, signature: str) -> None:
    header = {field: getattr(data, field) for field in ("name", "split", "classes", "sha256")}
    header["signature"] = signature
    arrays: dict[str, Any] = {"images": data.images.numpy(), "labels": data.labels.numpy()}
    if data.boxes is not None:
        header["boxes"], arrays["boxes"] = _sha256(data.boxes), data.boxes.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for all processes, of which one at a time writes: what a kill leaves there is overwritten by the next.
    temporary = path.with_name(f"{path.name}.tmp")
    with FileLock(path.with_name(f"{path.name}.lock"), blocking=False):
        try:
            with open(temporary, "wb") as file:
                np.savez(file, header=np.array(json.dumps(header)), **arrays)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
