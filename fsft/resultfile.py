"""One JSON file per finished run: written last, whole or not at all, with a digest of its own content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsft.files import write_atomically


def canonical_digest(result: Mapping[str, Any]) -> str:
    """SHA-256 of a result without its ``digest`` field, independent of the order of keys and of white space."""
    content = {key: value for key, value in result.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_result(path: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Write a result with its digest; returns what was written."""
    complete = {**result, "digest": canonical_digest(result)}
    write_atomically(path, (json.dumps(complete, indent=1) + "\n").encode())
    return complete


def read_result(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        ValueError: it is not JSON, not a result, or its digest does not fit.
    """
    try:
        result = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"expected a result file in JSON, found something else in {path}: {error}") from None
    if not isinstance(result, dict) or "digest" not in result:
        raise ValueError(f"expected a result file with a digest, found none in {path}")
    if result["digest"] != canonical_digest(result):
        raise ValueError(f"{path} was altered after it was written: its digest does not fit its content")
    return result
