"""What the scripts in ``benchmarks/`` measured, for the book and the tests: one JSON file per question and device."""

import json
from pathlib import Path
from typing import Any

from fsft.runtime.record import find_results


def measured(question: str, device: str = "cpu", folder: str | Path | None = None) -> dict[str, Any] | None:
    """The report of ``benchmarks/<question>.py`` on "cpu" or "cuda"; None where it has not been run.

    Reports are in ``benchmarks/results`` beside the folder of results, unless `folder` says where.
    """
    folder = Path(folder) if folder is not None else find_results().resolve().parent / "benchmarks" / "results"
    path = folder / f"{question}-{device}.json"
    report: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return report


def conditions(report: dict[str, Any]) -> str:
    """Where and how a report was measured, in one line: device, threads, clock, load, torch."""
    where, clock = report["environment"], report.get("settings", {}).get("clock", "wall")
    threads = where["threads"]
    parts = [
        where["device"]["name"],
        f"{threads} thread" + ("s" if threads != 1 else ""),
        "CPU seconds" if clock == "cpu" else "wall time",
    ]
    if report.get("load_average") is not None:
        parts.append(f"load average {report['load_average']:.0f}")
    return ", ".join([*parts, f"torch {where['versions']['torch']}"])
