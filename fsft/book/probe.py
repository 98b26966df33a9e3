"""What a kernel knows about itself; run as the last cell of every executed notebook and cut out again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "papermill", "jupyter-book")
CELL = "import fsft.book.probe\nfsft.book.probe.report()"


def report() -> None:
    """Print one JSON line: interpreter, fsft's folder, peak memory in MiB, threads, device, and versions."""
    import fsft

    print(
        json.dumps(
            {
                "executable": sys.executable,
                "package": str(Path(fsft.__file__).resolve().parent),
                "peak_memory_mib": peak_memory_mib(),
                "threads": _threads(),
                "device": _device(),
                "versions": versions(),
            }
        )
    )


def peak_memory_mib() -> float:
    """Peak resident memory of this process in MiB."""
    try:
        # VmHWM belongs to this program alone; ru_maxrss also counts the parent that it was forked from.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what a page shows."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _threads() -> int:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch else int(os.environ.get("OMP_NUM_THREADS", "1"))


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"CPU, {line.partition(':')[2].strip()}"
    except OSError:
        pass
    return f"CPU, {platform.processor() or platform.machine()}"
