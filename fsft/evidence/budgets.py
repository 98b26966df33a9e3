"""Chapter 13 as data: the gain over the baseline against epochs, images per class, and the joint classifiers' rate.

Everything is read from the ledger, for any number of seeds; what has not run is None, and says so in a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsft.catalog import recipes
from fsft.evidence import paper
from fsft.evidence.findings import BUDGETS, Side, beta_side, difference, map_recipe, runs_of
from fsft.evidence.ledger import Ledger, Result
from fsft.evidence.statistics import Difference, summarize

MODES = ("si", "ag", "sd")
SCALES = (1.0, 5.0)
NOT_RUN = "not run"


@dataclass(frozen=True)
class Cell:
    """One cell of the map: the gain of an inference mode over the baseline of the same budget, in points."""

    images: int
    epochs: int
    mode: str
    scale: float
    gain: Difference | None

    @property
    def clear(self) -> bool:
        """Whether the 95 % interval excludes zero."""
        return self.gain is not None and self.gain.within(-1e-9, 1e-9) is False

    @property
    def text(self) -> str:
        """Such as "+1.20 (2 and 3 seeds)", "+1.20 (one seed each)", or "not run"."""
        return NOT_RUN if self.gain is None else f"{self.gain.gain:+.2f} ({seeds_text(self.gain)})"


def map_cells(ledger: Ledger, **changes: Any) -> list[Cell]:
    """Every cell: budgets, modes, and scales; `changes` are fields in which all recipes of the map differ."""
    return [
        Cell(images, epochs, mode, scale, gain(ledger, images, epochs, mode, scale, **changes))
        for images, epochs in BUDGETS
        for scale in SCALES
        for mode in MODES
    ]


def gain(ledger: Ledger, images: int, epochs: int, mode: str, scale: float, **changes: Any) -> Difference | None:
    """The gain of SI or AG (networks of eq. 3) or SD (eq. 6) over the baseline; None where a side has not run."""
    method = "fsft-sd" if mode == "sd" else "fsft"
    a = map_recipe(images, epochs, method, scale, **changes), mode
    return difference(ledger, a, (map_recipe(images, epochs, **changes), "baseline"))[0]


def seeds_text(found: Difference) -> str:
    """How many seeds are behind a difference, said plainly."""
    if found.n == (1, 1):
        return "one seed each"
    return f"{found.n[0]} seeds each" if found.n[0] == found.n[1] else f"{found.n[0]} and {found.n[1]} seeds"


def map_frame(ledger: Ledger) -> pd.DataFrame:
    """The map as a table: one row a budget and scale, with every interval that there is."""
    rows = []
    for images, epochs in BUDGETS:
        for scale in SCALES:
            row: dict[str, Any] = {"Images per class": images, "Epochs": epochs, "Rate of the heads": f"× {scale:g}"}
            for mode in MODES:
                cell = Cell(images, epochs, mode, scale, gain(ledger, images, epochs, mode, scale))
                has_interval = cell.gain is not None and cell.gain.low is not None
                row[mode.upper()] = cell.text + (f" {cell.gain.interval}" if cell.gain and has_interval else "")
            rows.append(row)
    return pd.DataFrame(rows)


def beginnings(ledger: Ledger) -> list[str]:
    """Where the gain begins, one sentence for each inference mode and scale."""
    sentences = []
    for scale in SCALES:
        for mode in MODES:
            cells = [cell for cell in map_cells(ledger) if (cell.mode, cell.scale) == (mode, scale)]
            sentences.append(f"{mode.upper()}, heads × {scale:g}: {_beginning(cells)}.")
    return sentences


def _beginning(cells: list[Cell]) -> str:
    """How many of the cells that have run are ahead of the baseline, and which is the shortest of them."""
    run = [(cell, cell.gain) for cell in cells if cell.gain is not None]
    if not run:
        return NOT_RUN
    ahead = sorted(((cell, found) for cell, found in run if found.gain > 0), key=lambda pair: _images_seen(pair[0]))
    of = f"{len(run)} of {len(cells)} budgets run"
    largest = max(run, key=lambda pair: pair[1].gain)
    if not ahead:
        return f"never ahead of the baseline ({of}); nearest at {_place(largest[0])}, {largest[1].gain:+.2f} points"
    first = ahead[0]
    clear = sum(cell.clear for cell, _ in ahead)
    return (
        f"ahead of the baseline at {len(ahead)} ({of}), first at {_place(first[0])}, {first[1].gain:+.2f} points "
        f"with {seeds_text(first[1])}; the interval excludes zero at {clear}"
    )


def _images_seen(cell: Cell) -> int:
    return cell.images * cell.epochs


def _place(cell: Cell) -> str:
    return f"{cell.images} images per class × {cell.epochs} epochs"


def mechanism_frame(ledger: Ledger) -> pd.DataFrame:
    """How far single inference is from the baseline, in points: plain, with faster heads, and with the student."""
    kinds = {
        "SI": ("fsft", 1.0),
        "SI, heads × 5": ("fsft", 5.0),
        "SI, with student": ("fsft-sd", 1.0),
        "SI, student and heads × 5": ("fsft-sd", 5.0),
    }
    rows = []
    for images, epochs in BUDGETS:
        row: dict[str, Any] = {"Images per class": images, "Epochs": epochs}
        baseline = map_recipe(images, epochs), "baseline"
        for name, (method, scale) in kinds.items():
            found, _ = difference(ledger, (map_recipe(images, epochs, method, scale), "si"), baseline)
            row[name] = NOT_RUN if found is None else f"{found.gain:+.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def sides_frame(ledger: Ledger) -> pd.DataFrame:
    """One budget of the map again with the paper's weight decay, and with a smaller network."""
    settings: dict[str, dict[str, Any]] = {
        "as in the map": {},
        "weight decay 1e-4, the paper's": {"weight_decay": 1e-4},
        "ResNet-8": {"model": "resnet8"},
    }
    rows = []
    for name, changes in settings.items():
        row = {"100 images per class, 30 epochs": name}
        for scale in SCALES:
            for mode in ("si", "ag"):
                found = gain(ledger, 100, 30, mode, scale, **changes)
                row[f"{mode.upper()}, heads × {scale:g}"] = NOT_RUN if found is None else f"{found.gain:+.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def map_runs(ledger: Ledger, images: int, epochs: int) -> dict[str, list[Result]]:
    """The runs of one budget by what they are called in a figure, those without a run left out."""
    kinds = {
        "baseline": map_recipe(images, epochs),
        "FSFT": map_recipe(images, epochs, "fsft"),
        "FSFT, heads × 5": map_recipe(images, epochs, "fsft", 5.0),
        "FSFT with student": map_recipe(images, epochs, "fsft-sd"),
        "FSFT with student, heads × 5": map_recipe(images, epochs, "fsft-sd", 5.0),
    }
    found = {name: runs_of(ledger, recipe) for name, recipe in kinds.items()}
    return {name: runs for name, runs in found.items() if runs}


def reached_at(curve: np.ndarray, accuracy: float) -> int | None:
    """The first epoch, counted from 1, at which a mean curve (epochs,) is at least `accuracy`; None if never."""
    above = np.flatnonzero(curve >= accuracy)
    return int(above[0]) + 1 if len(above) else None


def beta_values(ledger: Ledger, mode: str, exact: bool) -> dict[float, list[float]]:
    """Last-epoch accuracies for each beta of Figure 4, one for each seed; empty where nothing has run.

    `exact` reads the paper's recipes, otherwise the short ones (``cpu/beta/*``).
    """
    values = {}
    for beta in paper.BETAS:
        recipe = recipes[paper.cells[f"fig4/resnet110/beta-{beta}"].recipe] if exact else _beta_recipe(beta)
        runs = runs_of(ledger, recipe)
        values[beta] = [float(run["last"][mode]) for run in runs if mode in run["last"]]
    return values


def _beta_recipe(beta: float) -> Any:
    side: Side = beta_side(beta)
    return side[0]


def beta_frame(ledger: Ledger) -> pd.DataFrame:
    """Figure 4 as a table: the paper prints no number; ours with its recipe, and with the short one."""
    columns = {
        "Ours, the paper's recipe: SI": beta_values(ledger, "si", True),
        "short recipe: SI": beta_values(ledger, "si", False),
        "short recipe: AG": beta_values(ledger, "ag", False),
    }
    rows = []
    for beta in paper.BETAS:
        printed = paper.cells[f"fig4/resnet110/beta-{beta}"].mean
        row: dict[str, Any] = {"β": f"{beta:g}", "Paper": "no number" if printed is None else f"{printed:.2f}"}
        for name, values in columns.items():
            row[name] = summarize(values[beta]).text() if values[beta] else NOT_RUN
        row["short recipe: seeds"] = len(columns["short recipe: SI"][beta])
        rows.append(row)
    return pd.DataFrame(rows)
