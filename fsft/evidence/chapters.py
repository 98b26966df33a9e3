"""What single chapters ask of the ledger, as data: the short runs of chapter 6, the maps' scores of chapter 11, the map
of budgets and the weight beta of chapter 13. Any number of seeds will do, and what has not run says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsft.catalog import recipes
from fsft.catalog.cpu import CORRELATIONS
from fsft.evidence import paper
from fsft.evidence.assertions import BUDGETS, beta_recipe, map_recipe
from fsft.evidence.comparison import Quantity, difference, quantity
from fsft.evidence.ledger import Ledger, Run, accuracy_curves
from fsft.evidence.statistics import Difference, bootstrap_difference, summarize, welch
from fsft.maps.scorefile import MapScores
from fsft.methods import METHODS
from fsft.recipe import Recipe

NOT_RUN, NOT_OFFERED = "not run", "–"

# Chapter 6: minutes of real training on real images say whether a method trains at all, and nothing about the paper's
# numbers.

SHORT_RUNS: tuple[str, ...] = (
    "baseline",
    "fsft",
    "fsft-sd",
    "cutout",
    "cutout+fsft",
    "mixup",
    "mixup+fsft",
    "sla",
    "sla-sd",
    "sla+fsft",
    *(f"after-layer{number}" for number in (1, 2, 3)),
)
# By column: the modes that it holds, of which a network has at most one.
_COLUMNS = {
    "single (%)": ("baseline", "si"),
    "AG, last classifier (%)": ("ag-last",),
    "AG (%)": ("ag",),
    "SD (%)": ("sd",),
}
# Table 2 in panels: title, method without FSFT and its mode, method with FSFT.
_PANELS = (
    ("plain", "baseline", "baseline", "fsft"),
    ("Cutout", "cutout", "baseline", "cutout+fsft"),
    ("Mixup", "mixup", "baseline", "mixup+fsft"),
    ("SLA", "sla", "ag-last", "sla+fsft"),
)


def short_frame(ledger: Ledger, family: str) -> pd.DataFrame:
    """Test accuracy at the last epoch of every method and inference mode, and the best epoch of single inference.

    ``family`` is ``cpu/short-cifar100`` or ``cpu/short-tiny-imagenet``.
    """
    rows = []
    for method in SHORT_RUNS:
        recipe = recipes[f"{family}/{method}"]
        added = [name.capitalize() for name in recipe.augment if name in ("cutout", "mixup")]
        parts = [*added, *([] if method in ("cutout", "mixup") else [METHODS[recipe.method].label])]
        row: dict[str, Any] = {"trained with": " + ".join(parts), "runs": len(ledger.runs(recipe))}
        row |= {column: _short_cell(ledger, recipe, modes) for column, modes in _COLUMNS.items()}
        row["best epoch, single (%)"] = _short_cell(ledger, recipe, _COLUMNS["single (%)"], "best")
        rows.append(row)
    return pd.DataFrame(rows)


def _short_cell(ledger: Ledger, recipe: Recipe, modes: tuple[str, ...], epoch: str = "last") -> str:
    if not ledger.runs(recipe):
        return NOT_RUN
    values = [value for mode in modes for value in Quantity(recipe, mode).values(ledger, epoch).values()]
    return summarize(values).text() if values else NOT_OFFERED


def table2_curves(ledger: Ledger, family: str) -> dict[str, dict[str, np.ndarray]]:
    """Mean curves of Table 2's pairs for ``curve_panels`` of :mod:`fsft.figures.charts`; missing runs are left out.

    Without FSFT a network answers as in the paper's table, which is aggregated for SLA.
    """
    panels: dict[str, dict[str, np.ndarray]] = {}
    for title, without, mode, with_fsft in _PANELS:
        panels[title] = {}
        for name, method, shown in (("without", without, mode), ("si", with_fsft, "si"), ("ag", with_fsft, "ag")):
            runs = ledger.runs(recipes[f"{family}/{method}"])
            if runs:
                panels[title][name] = accuracy_curves(runs, shown).mean(0)
    return panels


# Chapter 11: what the scores of maps say.

SHORTCUT_METHODS = {"baseline": "Baseline", "fsft": "FSFT", "cutout": "Cutout"}


@dataclass(frozen=True)
class MapComparison:
    """Mean of a minus mean of b, in points, with three intervals of growing caution.

    Attributes:
        images: bootstrap over images: these networks, other images.
        both: bootstrap over seeds and images: of what a few networks can show, all.
        seeds: Welch on the networks' means: other networks. The last two are without ends where there is one network.
    """

    images: Difference
    both: Difference
    seeds: Difference

    @property
    def cells(self) -> dict[str, Any]:
        """The cells of a table's row."""
        return {
            "difference (points)": self.images.gain,
            "over images": self.images.interval,
            "over images and seeds": self.both.interval,
            "over seeds (Welch)": self.seeds.interval,
        }


def compare_maps(a: np.ndarray, b: np.ndarray) -> MapComparison:
    """Scores (S, n) in percent of two methods on the same n images."""
    of_networks = [summarize([float(value) for value in np.atleast_2d(rows).mean(1)]) for rows in (a, b)]
    images, seeds = bootstrap_difference(a, b, over_seeds=False), welch(*of_networks)
    alone = min(images.n) < 2  # nothing to resample
    both = Difference(images.gain, None, None, "bootstrap", images.n) if alone else bootstrap_difference(a, b)
    return MapComparison(images, both, seeds)


def answer(comparison: MapComparison, where: str) -> str:
    """The answer to "does FSFT look at the object more?", from the energy inside it: in sentences."""
    gain, n = comparison.images.gain, comparison.images.n
    of_images, of_seeds = (
        difference.within(0, math.inf) for difference in (comparison.images, comparison.seeds)
    )  # True: more, False: less, None: the interval holds zero, or there is none
    if of_images is None:
        verdict = "Not settled: even for these very networks the interval holds zero."
    elif of_seeds != of_images:
        verdict = f"{'Yes' if of_images else 'No, less'}, for these networks; for others it is not settled."
    else:
        verdict = f"{'Yes' if of_images else 'No, less'}, and not for these networks only."
    networks = [f"{count} network{'s' * (count != 1)}" for count in n]
    return (
        f"{verdict} On {where}, with {networks[0]} of FSFT and {networks[1]} of the baseline, FSFT's maps have "
        f"{abs(gain):.1f} points {'more' if gain > 0 else 'less'} of their mass on the object. 95 % intervals in "
        f"points: over images {comparison.images.interval}; over images and seeds {comparison.both.interval}; over "
        f"seeds alone {comparison.seeds.interval}."
    )


def by_seed(scored: Sequence[MapScores], recipe: Recipe, kind: str, score: str) -> np.ndarray:
    """One score of every run of a recipe, whatever its name: (S, n) in percent, by seed; (0, 0) without a run."""
    found = {run["seed"]: run for run in scored if run["slug"].endswith(f"-{recipe.digest[:8]}")}
    return np.array([found[seed]["scores"][kind][score] for seed in sorted(found)]) if found else np.empty((0, 0))


def comparison_frame(
    scored: Sequence[MapScores], family: str, kinds: Mapping[str, str], scores: Sequence[str]
) -> pd.DataFrame:
    """FSFT minus baseline for each kind of FSFT's map (with its label) and each score; empty where runs are missing."""
    rows = []
    for kind, label in kinds.items():
        for score in scores:
            a = by_seed(scored, recipes[f"{family}/fsft"], kind, score)
            b = by_seed(scored, recipes[f"{family}/baseline"], "grad-cam/baseline", score)
            if a.size and b.size:
                means = {"baseline (%)": b.mean(), "FSFT (%)": a.mean()}
                rows.append({"FSFT's map": label, "score": score} | means | compare_maps(a, b).cells)
    return pd.DataFrame(rows)


def shortcut_frame(ledger: Ledger, scored: Sequence[MapScores]) -> pd.DataFrame:
    """The shortcut test, a row for each correlation and method: accuracy, and the maps' mass on the background.

    Accuracy in percent on backgrounds that say nothing (last epoch; single inference for FSFT); the mass outside the
    digit of the Grad-CAM maps of the true class, in percent; None where there is no run.
    """
    rows = []
    for correlation in CORRELATIONS:
        for method, label in SHORTCUT_METHODS.items():
            recipe, mode = recipes[f"cpu/shortcut/{correlation}/{method}"], "si" if method == "fsft" else "baseline"
            accuracy = list(Quantity(recipe, mode).values(ledger).values())
            inside = by_seed(scored, recipe, f"grad-cam/{mode}", "energy")
            outside = [float(100 - value) for value in inside.mean(1)] if inside.size else []
            row = {"correlation": correlation, "method": label, "runs": len(accuracy)}
            row["accuracy"] = summarize(accuracy) if accuracy else None
            rows.append(row | {"background": summarize(outside) if outside else None})
    return pd.DataFrame(rows)


# Chapter 13: the gain over the baseline against epochs, images per class, and the joint classifiers' rate.

MODES = ("si", "ag", "sd")
SCALES = (1.0, 5.0)


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

    @property
    def place(self) -> str:
        return f"{self.images} images per class × {self.epochs} epochs"


def map_cells(ledger: Ledger) -> list[Cell]:
    """Every cell: budgets, rates, and modes."""
    return [
        Cell(images, epochs, mode, scale, budget_gain(ledger, images, epochs, mode, scale))
        for images, epochs in BUDGETS
        for scale in SCALES
        for mode in MODES
    ]


def cells_frame(ledger: Ledger) -> pd.DataFrame:
    """Every cell in the columns that :func:`fsft.figures.gain_plots.gain_map` draws."""
    rows = []
    for cell in map_cells(ledger):
        seeds = "" if cell.gain is None else ", ".join(map(str, sorted(set(cell.gain.n))))
        row = {"gain": None if cell.gain is None else cell.gain.gain, "clear": cell.clear, "seeds": seeds}
        place = {name: getattr(cell, name) for name in ("images", "epochs", "mode", "scale")}
        rows.append(place | row | {"text": cell.text})
    return pd.DataFrame(rows).astype({"gain": float})


def budget_gain(ledger: Ledger, images: int, epochs: int, mode: str, scale: float, **changes: Any) -> Difference | None:
    """The gain of SI or AG (networks of eq. 3) or SD (eq. 6) over the baseline; None where a side has not run.

    `changes` are fields in which both recipes differ from the map's.
    """
    method = "fsft-sd" if mode == "sd" else "fsft"
    a = map_recipe(images, epochs, method, scale, **changes), mode
    return difference(ledger, a, (map_recipe(images, epochs, **changes), "baseline"))


def seeds_text(found: Difference) -> str:
    """How many seeds are behind a difference, said plainly."""
    if found.n == (1, 1):
        return "one seed each"
    return f"{found.n[0]} seeds each" if found.n[0] == found.n[1] else f"{found.n[0]} and {found.n[1]} seeds"


def map_frame(ledger: Ledger) -> pd.DataFrame:
    """The map as a table: one row a budget and scale, with every interval that there is."""
    rows: dict[tuple[int, int, float], dict[str, Any]] = {}
    for cell in map_cells(ledger):
        head = {"Images per class": cell.images, "Epochs": cell.epochs, "Rate of the heads": f"× {cell.scale:g}"}
        row = rows.setdefault((cell.images, cell.epochs, cell.scale), head)
        has_interval = cell.gain is not None and cell.gain.low is not None
        row[cell.mode.upper()] = cell.text + (f" {cell.gain.interval}" if cell.gain and has_interval else "")
    return pd.DataFrame(list(rows.values()))


def beginnings(ledger: Ledger) -> list[str]:
    """Where the gain begins, one sentence for each inference mode and scale."""
    cells, sentences = map_cells(ledger), []
    for scale in SCALES:
        for mode in MODES:
            of_mode = [cell for cell in cells if (cell.mode, cell.scale) == (mode, scale)]
            sentences.append(f"{mode.upper()}, heads × {scale:g}: {_beginning(of_mode)}.")
    return sentences


def _beginning(cells: list[Cell]) -> str:
    """How many of the cells that have run are ahead of the baseline, and which is the shortest of them."""
    run = [(cell, cell.gain) for cell in cells if cell.gain is not None]
    if not run:
        return NOT_RUN
    of = f"{len(run)} of {len(cells)} budgets run"
    ahead = [(cell, found) for cell, found in run if found.gain > 0]
    if not ahead:
        nearest, found = max(run, key=lambda pair: pair[1].gain)
        return f"never ahead of the baseline ({of}); nearest at {nearest.place}, {found.gain:+.2f} points"
    first, found = min(ahead, key=lambda pair: pair[0].images * pair[0].epochs)
    return (
        f"ahead of the baseline at {len(ahead)} ({of}), first at {first.place}, {found.gain:+.2f} points "
        f"with {seeds_text(found)}; the interval excludes zero at {sum(cell.clear for cell, _ in ahead)}"
    )


def mechanism_frame(ledger: Ledger) -> pd.DataFrame:
    """How far single inference is from the baseline, in points: plain, with faster heads, and with the student."""
    kinds = {
        "SI": ("fsft", 1.0),
        "SI, heads × 5": ("fsft", 5.0),
        "SI, with student": ("fsft-sd", 1.0),
        "SI, student and heads × 5": ("fsft-sd", 5.0),
    }
    rows = []
    for budget in BUDGETS:
        row: dict[str, Any] = dict(zip(("Images per class", "Epochs"), budget, strict=True))
        for name, (method, scale) in kinds.items():
            a = map_recipe(*budget, method, scale), "si"
            row[name] = _gain_text(difference(ledger, a, (map_recipe(*budget), "baseline")))
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
                found = budget_gain(ledger, 100, 30, mode, scale, **changes)
                row[f"{mode.upper()}, heads × {scale:g}"] = _gain_text(found)
        rows.append(row)
    return pd.DataFrame(rows)


def _gain_text(found: Difference | None) -> str:
    return NOT_RUN if found is None else f"{found.gain:+.2f}"


def map_runs(ledger: Ledger, images: int, epochs: int) -> dict[str, tuple[Run, ...]]:
    """The runs of one budget by what they are called in a figure, those without a run left out."""
    kinds = {
        "baseline": map_recipe(images, epochs),
        "FSFT": map_recipe(images, epochs, "fsft"),
        "FSFT, heads × 5": map_recipe(images, epochs, "fsft", 5.0),
        "FSFT with student": map_recipe(images, epochs, "fsft-sd"),
        "FSFT with student, heads × 5": map_recipe(images, epochs, "fsft-sd", 5.0),
    }
    return {name: runs for name, recipe in kinds.items() if (runs := ledger.runs(recipe))}


def reached_at(curve: np.ndarray, accuracy: float) -> int | None:
    """The first epoch, counted from 1, at which a mean curve (epochs,) is at least `accuracy`; None if never."""
    above = np.flatnonzero(curve >= accuracy)
    return int(above[0]) + 1 if len(above) else None


def beta_values(ledger: Ledger, mode: str, exact: bool) -> dict[float, list[float]]:
    """Last-epoch accuracies for each beta of Figure 4, one for each seed; empty where nothing has run.

    `exact` reads the paper's recipes, otherwise the short ones (``cpu/beta/*``).
    """
    asked = {
        beta: quantity(f"fig4/resnet110/beta-{beta}").recipe if exact else beta_recipe(beta) for beta in paper.BETAS
    }
    return {beta: list(Quantity(recipe, mode).values(ledger).values()) for beta, recipe in asked.items()}


def beta_frame(ledger: Ledger) -> pd.DataFrame:
    """Figure 4 as a table: the paper prints no number; ours with its recipe, and with the short one."""
    columns = {
        "Ours, the paper's recipe: SI": beta_values(ledger, "si", True),
        "short recipe: SI": beta_values(ledger, "si", False),
        "short recipe: AG": beta_values(ledger, "ag", False),
    }
    rows = []
    for beta in paper.BETAS:
        row: dict[str, Any] = {"β": f"{beta:g}", "Paper": "no number"}
        for name, values in columns.items():
            row[name] = summarize(values[beta]).text() if values[beta] else NOT_RUN
        row["short recipe: seeds"] = len(columns["short recipe: SI"][beta])
        rows.append(row)
    return pd.DataFrame(rows)
