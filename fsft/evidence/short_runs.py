"""The short CPU runs of every method, for chapter 6: from the ledger, "not run" where there is none.

These recipes (``cpu/short-cifar100/...``, ``cpu/short-tiny-imagenet/...``) are real training on real images, but of
minutes: they say whether a method trains at all, and nothing about the paper's numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fsft.catalog import recipes
from fsft.evidence.ledger import Ledger, Result
from fsft.evidence.statistics import summarize
from fsft.figures import plots

NAMES = {
    "baseline": "Baseline",
    "fsft": "FSFT",
    "fsft-sd": "FSFT with student",
    "cutout": "Cutout",
    "cutout+fsft": "Cutout + FSFT",
    "mixup": "Mixup",
    "mixup+fsft": "Mixup + FSFT",
    "sla": "SLA",
    "sla-sd": "SLA with student",
    "sla+fsft": "SLA + FSFT",
    "after-layer1": "masks after layer 1",
    "after-layer2": "masks after layer 2",
    "after-layer3": "masks after layer 3",
}
NOT_RUN, NOT_OFFERED = "not run", "–"
# By column: the modes that it holds, of which a network has at most one.
_COLUMNS = {
    "single (%)": ("baseline", "si"),
    "AG, last classifier (%)": ("ag-last",),
    "AG (%)": ("ag",),
    "SD (%)": ("sd",),
}


def runs(ledger: Ledger, family: str, method: str) -> list[Result]:
    """The finished runs of exactly the recipe ``<family>/<method>``, by seed; ``family`` is ``cpu/short-cifar100``."""
    slug = recipes[f"{family}/{method}"].slug
    return sorted((result for result in ledger if result["slug"] == slug), key=lambda result: result["seed"])


def accuracy_frame(ledger: Ledger, family: str) -> pd.DataFrame:
    """Test accuracy at the last epoch of every method and inference mode, and the best epoch of single inference."""
    rows = []
    for method, name in NAMES.items():
        found = runs(ledger, family, method)
        row: dict[str, Any] = {"trained with": name, "runs": len(found)}
        for column, modes in _COLUMNS.items():
            row[column] = _cell(found, modes)
        row["best epoch, single (%)"] = _cell(found, _COLUMNS["single (%)"], best=True)
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(found: list[Result], modes: tuple[str, ...], *, best: bool = False) -> str:
    if not found:
        return NOT_RUN
    values = [
        result["best"][mode]["accuracy"] if best else result["last"][mode]
        for result in found
        for mode in modes
        if mode in result["last"]
    ]
    return summarize(values).text(2) if values else NOT_OFFERED


def curve(ledger: Ledger, family: str, method: str, mode: str) -> np.ndarray | None:
    """Test accuracy in percent after each epoch, (epochs,), the mean over the seeds; None without a run."""
    found = runs(ledger, family, method)
    return plots.curves(found, mode).mean(0) if found else None


# Table 2 in panels: title, method without FSFT and its mode, method with FSFT.
_PANELS = (
    ("plain", "baseline", "baseline", "fsft"),
    ("Cutout", "cutout", "baseline", "cutout+fsft"),
    ("Mixup", "mixup", "baseline", "mixup+fsft"),
    ("SLA", "sla", "ag-last", "sla+fsft"),
)
LOOKS = {
    "without": plots.MethodStyle("without FSFT", plots.BLACK, "o", "-"),
    "si": plots.METHODS["si"],
    "ag": plots.METHODS["ag"],
}


def table2_curves(ledger: Ledger, family: str) -> dict[str, dict[str, np.ndarray]]:
    """Curves of Table 2's pairs for ``curve_panels`` of :mod:`fsft.figures.charts` with :data:`LOOKS`.

    Missing runs are left out. Without FSFT a network answers as in the paper's table, which is aggregated for SLA.
    """
    panels = {}
    for title, without, mode, with_fsft in _PANELS:
        curves = {
            "without": curve(ledger, family, without, mode),
            "si": curve(ledger, family, with_fsft, "si"),
            "ag": curve(ledger, family, with_fsft, "ag"),
        }
        panels[title] = {name: values for name, values in curves.items() if values is not None}
    return panels
