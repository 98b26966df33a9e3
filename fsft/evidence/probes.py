"""What a trained network knows, measured on the weights of a finished run and kept beside its result.

`results/probes/` holds a small JSON for each run probed; `benchmarks/network_probe.py` writes them, and says what is
asked: "recognition", which quadrant of the features was dropped (Section 3.1), on test images and on blank ones, with
and without a border; "features", the accuracy of single inference under four conditions; "loss", its two parts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fsft.runtime.record import find_results, load_sound

# With equal views a classifier gives the four one answer, and is right for one of them at best.
CHANCE = 25.0
FOLDER = "probes"
Probe = dict[str, Any]


def load_probes(directory: str | Path | None = None) -> list[Probe]:
    """The probes in `probes/` of a results folder, sorted by file name; ValueError names a file that was altered."""
    return list(load_sound(find_results(directory) / FOLDER))


def quadrants_named(table: list[list[float]]) -> float:
    """How often the dropped quadrant is named correctly, in percent: the mean over the four masks that drop one."""
    return sum(table[k][k] for k in range(1, len(table))) / (len(table) - 1)
