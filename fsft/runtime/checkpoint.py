"""Checkpoints that are whole or not there, that notice a flipped bit, and that never execute code when read."""

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsft.runtime import files
from fsft.runtime.devices import memory_full

_KEPT = 2  # the newest, and the one before in case the newest is damaged
_DIGEST_BYTES = 32


class DamagedFileError(ValueError):
    """A file whose content is not what was written."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings, lists, dicts) followed by the SHA-256 of its bytes, atomically."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getvalue()
    files.write_atomically(path, content + hashlib.sha256(content).digest())


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, to CPU memory.

    torch's own format does not notice a flipped bit in a tensor, so the digest is checked first. Only plain data is
    accepted (``weights_only=True``). DamagedFileError for anything else.
    """
    with files.open_regular(path) as file:
        content = file.read()
    payload, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedFileError(f"{path} is damaged: its SHA-256 does not fit its content")
    with content_of(path):
        return {**torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)}


@contextlib.contextmanager
def content_of(path: Path) -> Iterator[None]:
    """Around what is made of a file: DamagedFileError for one that is whole, but holds something else."""
    try:
        yield
    except Exception as error:  # there is no telling what other content makes its reader raise
        if isinstance(error, OSError) or memory_full(error):
            raise
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise DamagedFileError(f"{path} is whole, but not what a run keeps ({why}): train it again") from error


def save_checkpoint(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write ``folder/checkpoint-<step>.pt`` and remove all but the newest two."""
    save_state(folder / f"checkpoint-{step:09d}.pt", state)
    files.fault_point("before prune")
    for old in checkpoints(folder)[:-_KEPT]:
        old.unlink()
    files.fault_point("after prune")


def load_newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is undamaged; None when there is none.

    Each damaged one is reported and set aside as ``*.damaged``: as the newest by number it would push out good ones.
    What a kill left of a checkpoint that was being written is removed.
    """
    for litter in folder.glob("*.tmp"):
        litter.unlink()
    found = checkpoints(folder)
    for left, path in reversed(list(enumerate(found))):
        try:
            return load_state(path)
        except DamagedFileError as error:
            path.rename(path.with_suffix(".damaged"))
            then = "going back to the checkpoint before it" if left else "none is left, so the run begins anew"
            warnings.warn(f"{error}; {then}", stacklevel=2)
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint files in ``folder``, oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of a state dict: equal weights have equal digests in any file."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
