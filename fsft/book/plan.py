"""What has to be executed: one job a notebook, its parameters checked, and whether it must run again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from fsft.book import probe
from fsft.book.params import ParameterError, check_parameters, declared_parameters
from fsft.book.run import Job
from fsft.book.stage import commit_note

# Seconds for one cell: far above what a chapter needs even on a slow, busy machine, there to end what hangs.
CELL_TIMEOUT = {"quick": 1200, "laptop": 2400, "paper": 7 * 86400}
_KEY_FORMAT = 1


def plan_jobs(
    root: Path, names: Sequence[str], profile: str, data_dir: str, parameters: Mapping[str, Any]
) -> list[Job]:
    """One job a notebook, every parameter checked against the notebook's own declarations; starts nothing.

    Raises ParameterError when a value is not allowed, or when no notebook declares an extra parameter.
    """
    if {"profile", "data_dir"} & set(parameters):
        raise ParameterError("the profile and the data folder have arguments of their own: use those")
    commit = commit_note(root)
    shared = _shared_digest(root)
    jobs, unused = [], set(parameters)
    # A kernel runs in the notebook's folder, so a relative data folder is made absolute here.
    absolute = str((root / data_dir).resolve())
    for name in names:
        source = root / name
        declared = declared_parameters(nbformat.read(source, as_version=4).cells, name)
        given = {"profile": profile, "data_dir": data_dir, **parameters}
        mine = {key: value for key, value in given.items() if key in declared}
        unused -= set(declared)
        shown = check_parameters(declared, mine)
        passed = check_parameters(declared, mine | ({"data_dir": absolute} if "data_dir" in mine else {}))
        if "data_dir" in shown and Path(data_dir).is_absolute():
            shown["data_dir"] = declared["data_dir"]
        key = hashlib.sha256(
            shared + source.read_bytes() + json.dumps([profile, passed], sort_keys=True).encode()
        ).hexdigest()
        cache = root / "_build" / "cache" / profile
        jobs.append(
            Job(
                source=str(source),
                target=str(cache / source.name),
                record=str(cache / f"{source.stem}.json"),
                root=str(root),
                profile=profile,
                parameters=passed,
                shown=shown,
                key=key,
                commit=commit,
                cell_timeout=CELL_TIMEOUT[profile],
            )
        )
    if unused:
        raise ParameterError(f"no notebook declares the parameters {sorted(map(repr, unused))}")
    return jobs


def _shared_digest(root: Path) -> bytes:
    """Digest of what every page depends on: package, results, benchmarks' reports, lock, and installed versions."""
    digest = hashlib.sha256(f"{_KEY_FORMAT} {sorted(probe.versions().items())}".encode())
    files = [root / "requirements.txt", *root.glob("results/**/*.json"), *root.glob("benchmarks/results/*.json")]
    executing = [f"fsft/book/{name}.py" for name in ("notebook", "outputs", "params", "probe", "run")]
    for pattern in ("fsft/*.py", "fsft/datasets/*.py", "fsft/figures/*.py", *executing):
        files += root.glob(pattern)
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.digest()


def _record(job: Job) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(Path(job.record).read_text())
    except (OSError, ValueError):
        return {}
    return record


def is_current(job: Job) -> bool:
    """Whether the job's last good execution was of the same source, parameters, package, and versions."""
    return _record(job).get("key") == job.key and Path(job.target).is_file()


def last_seconds(job: Job) -> float | None:
    """How long the notebook took when it was last executed, None when it never was."""
    seconds = _record(job).get("seconds")
    return float(seconds) if seconds is not None else None


def put(cached: Path, target: Path) -> None:
    """Copy an executed notebook to its place, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".tmp")
    shutil.copyfile(cached, partial)
    partial.replace(target)
