"""Where and with what a result was made."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fsft.runtime.record import leaves


def environment(device: torch.device, together: int = 1) -> dict[str, Any]:
    """Versions, device, threads and commit, as JSON values for a result file; see :func:`device_record`."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "fsft"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[name] = None
    return {
        "versions": versions,
        "device": device_record(device, together),
        "threads": torch.get_num_threads(),
        "git": git_state(),
    }


def begin_stretch(stretches: list[dict[str, Any]], here: dict[str, Any], place: list[int]) -> list[str]:
    """Note in a run's ``stretches`` that it begins or goes on at ``place`` under the conditions ``here``.

    A stretch is the part of a run that was computed under one set of conditions, with the seconds it took and where it
    begins and ends: [epochs done, steps done of the next]. What is not as it was before is returned, in words.
    """
    changed = changes({key: stretches[-1][key] for key in here}, here) if stretches else []
    if changed or not stretches:
        stretches.append({**here, "begin": place, "end": place, "seconds": 0.0})
    return changed


def one_machine(stretches: list[dict[str, Any]]) -> bool:
    """Whether all of a run was computed on one device with as many threads, so that its speed means something."""
    first = stretches[0]
    same = all((part["device"], part["threads"]) == (first["device"], first["threads"]) for part in stretches)
    return same and first["begin"] == [0, 0]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two environments differ, in words: ``threads 2, now 1``."""
    old, new = dict(leaves(before)), dict(leaves(now))
    pairs = {name: (old.get(name), new.get(name)) for name in (*old, *new)}
    return [f"{name.replace('.', ' ')} {a}, now {b}" for name, (a, b) in pairs.items() if a != b]


def device_record(device: torch.device, together: int = 1) -> dict[str, Any]:
    """What computed: ``{"type": "cpu", "name": ..., "cores": ...}`` or the GPU's name, with CUDA and cuDNN versions.

    ``jobs`` says how many runs a sweep had on it at a time, where that was more than one: in so many processes, and
    ``together`` in each.
    """
    jobs = int(os.environ.get("FSFT_JOBS", "1")) * together
    shared = {"jobs": jobs} if jobs > 1 else {}
    if device.type == "cuda":
        name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
        return shared | {"type": "cuda", "name": name, "cuda": torch.version.cuda, "cudnn": cudnn}
    name, isa = platform.processor() or platform.machine(), torch.backends.cpu.get_cpu_capability()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return shared | {"type": device.type, "name": name, "cores": os.cpu_count(), "isa": isa}


def git_state(root: Path | None = None) -> dict[str, Any]:
    """Commit of the source tree at ``root`` (default: this package's), and whether tracked files differ from it.

    Reports of benchmarks are no part of the code: one that renews its own does not make the next one's tree differ.
    Outside git, a file ``COMMIT`` at the root says it, which whoever sends a tree without its history writes as JSON;
    without that, both values are None.
    """
    root = root or Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        if Path(git("rev-parse", "--show-toplevel")).resolve() == root.resolve():
            changes = git("status", "--porcelain", "--untracked-files=no", "--", ":(top,exclude)benchmarks/results")
            return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    try:
        sent = json.loads((root / "COMMIT").read_text())
        return {"commit": sent["commit"], "dirty": sent["dirty"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {"commit": None, "dirty": None}


_ON_GITHUB = re.compile(
    r"(?:https://(?:[^@/\s]+@)?|(?:ssh://)?git@)github\.com[/:]([\w-]+/[\w.-]+?)(?:\.git)?/?", re.ASCII
)


def repository_url(root: Path) -> str | None:
    """The address on GitHub, ``https://github.com/owner/name``, of the repository that `root` is a checkout of.

    The one whose GitHub workflow runs in `root`, else git's remote `origin`, else `[project.urls] Repository` of
    pyproject.toml; None where none of them is on GitHub. A name or token in an address is left out.
    """
    candidates, path = [], root / "pyproject.toml"
    if Path(os.environ.get("GITHUB_WORKSPACE") or "-").resolve() == root.resolve():
        candidates.append("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}".format_map(os.environ))
    if (root / ".git").exists():
        origin = ["git", "-C", str(root), "config", "remote.origin.url"]
        with contextlib.suppress(OSError):  # no git here
            candidates.append(subprocess.run(origin, capture_output=True, text=True, check=False).stdout.strip())
    project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {}) if path.is_file() else {}
    candidates.append(str(project.get("urls", {}).get("Repository", "")))
    found = (_ON_GITHUB.fullmatch(candidate) for candidate in candidates)
    return next((f"https://github.com/{address[1]}" for address in found if address), None)


def peak_memory_mib(device: torch.device) -> float | None:
    """Peak memory so far, in MiB: allocated on the GPU by this process, or resident on the CPU. None on Windows."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    with contextlib.suppress(OSError, StopIteration):
        # This program's own; ru_maxrss also counts the parent that it was forked from.
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**10, 1)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
