"""What the scores of maps say, for chapter 11: differences between methods with their intervals, and the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from fsft.catalog import recipes
from fsft.catalog.cpu import CORRELATIONS
from fsft.evidence.bootstrap import bootstrap_difference
from fsft.evidence.ledger import Ledger
from fsft.evidence.statistics import Difference, summarize, welch
from fsft.maps.scorefile import MapScores

SHORTCUT_METHODS = {"baseline": "Baseline", "fsft": "FSFT", "cutout": "Cutout"}


@dataclass(frozen=True)
class Comparison:
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


def compare(a: np.ndarray, b: np.ndarray) -> Comparison:
    """Scores (S, n) in percent of two methods on the same n images."""
    of_networks = [summarize([float(value) for value in np.atleast_2d(rows).mean(1)]) for rows in (a, b)]
    images, seeds = bootstrap_difference(a, b, over_seeds=False), welch(*of_networks)
    alone = min(images.n) < 2  # nothing to resample
    both = Difference(images.gain, None, None, "bootstrap", images.n) if alone else bootstrap_difference(a, b)
    return Comparison(images, both, seeds)


def answer(comparison: Comparison, where: str) -> str:
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
    more = "more" if gain > 0 else "less"
    images, both, seeds = (difference.interval for difference in (comparison.images, comparison.both, comparison.seeds))
    return (
        f"{verdict} On {where}, with {_networks(n[0])} of FSFT and {_networks(n[1])} of the baseline, FSFT's maps have "
        f"{abs(gain):.1f} points {more} of their mass on the object. 95 % intervals in points: "
        f"over images {images}; over images and seeds {both}; over seeds alone {seeds}."
    )


def _networks(count: int) -> str:
    return f"{count} network" + "s" * (count != 1)


def by_seed(scored: Sequence[MapScores], recipe_name: str, kind: str, score: str) -> np.ndarray:
    """One score of every run of a recipe: (S, n) in percent, by seed; (0, 0) without a run."""
    found = sorted((run for run in scored if run["recipe_name"] == recipe_name), key=lambda run: run["seed"])
    return np.array([run["scores"][kind][score] for run in found]) if found else np.empty((0, 0))


def comparison_frame(
    scored: Sequence[MapScores], family: str, kinds: Mapping[str, str], scores: Sequence[str]
) -> pd.DataFrame:
    """FSFT minus baseline for each kind of FSFT's map (with its label) and each score; empty where runs are missing."""
    rows = []
    for kind, label in kinds.items():
        for score in scores:
            a = by_seed(scored, f"{family}/fsft", kind, score)
            b = by_seed(scored, f"{family}/baseline", "grad-cam/baseline", score)
            if a.size and b.size:
                means = {"baseline (%)": b.mean(), "FSFT (%)": a.mean()}
                rows.append({"FSFT's map": label, "score": score} | means | compare(a, b).cells)
    return pd.DataFrame(rows)


def shortcut_frame(ledger: Ledger, scored: Sequence[MapScores]) -> pd.DataFrame:
    """The shortcut test, a row for each correlation and method: accuracy, and the maps' mass on the background.

    Accuracy in percent on backgrounds that say nothing (last epoch; single inference for FSFT); the mass outside the
    digit of the Grad-CAM maps of the true class, in percent; None where there is no run.
    """
    rows = []
    for correlation in CORRELATIONS:
        for method, label in SHORTCUT_METHODS.items():
            name, mode = f"cpu/shortcut/{correlation}/{method}", "si" if method == "fsft" else "baseline"
            accuracy = [float(result["last"][mode]) for result in ledger if result["slug"] == recipes[name].slug]
            inside = by_seed(scored, name, f"grad-cam/{mode}", "energy")
            outside = [float(100 - value) for value in inside.mean(1)] if inside.size else []
            rows.append(
                {
                    "correlation": correlation,
                    "method": label,
                    "runs": len(accuracy),
                    "accuracy": summarize(accuracy) if accuracy else None,
                    "background": summarize(outside) if outside else None,
                }
            )
    return pd.DataFrame(rows)
