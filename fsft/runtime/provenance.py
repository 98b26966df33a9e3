"""Where and with what a result was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, threads and commit, as JSON values for a result file."""
    packages = ("torch", "torchvision", "numpy", "fsft")
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in packages},
        "device": device_record(device),
        "threads": torch.get_num_threads(),
        "git": git_state(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def device_record(device: torch.device) -> dict[str, Any]:
    """What computed: ``{"type": "cpu", "name": ..., "cores": ...}`` or the GPU's name, with CUDA and cuDNN versions.

    ``jobs`` says how many runs a sweep had on it at a time, where that was more than one.
    """
    jobs = int(os.environ.get("FSFT_JOBS", "1"))
    shared = {"jobs": jobs} if jobs > 1 else {}
    if device.type == "cuda":
        return shared | {
            "type": "cuda",
            "name": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return shared | {
        "type": device.type,
        "name": _processor_name(),
        "cores": os.cpu_count(),
        "isa": torch.backends.cpu.get_cpu_capability(),
    }


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def git_state(root: Path | None = None) -> dict[str, Any]:
    """Commit of the source tree at ``root`` (default: this package's), and whether tracked files differ from it.

    Reports of benchmarks are no part of the code: one that renews its own does not make the next one's tree differ.
    Both values are None outside git.
    """
    root = root or Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return {"commit": None, "dirty": None}
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ":(top,exclude)benchmarks/results")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory so far: allocated on the GPU by this process, or resident on the CPU. In MiB."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
