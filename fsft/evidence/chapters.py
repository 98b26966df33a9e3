"""What single chapters ask of the ledger, as data: the method's parts of chapter 4, the short runs of chapter 6, the
maps' scores of chapter 11, gains by budget and the weight beta of chapter 13. What has not run says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fsft.catalog import recipes
from fsft.catalog.cpu import CORRELATIONS
from fsft.evidence import paper
from fsft.evidence.assertions import BUDGETS, beta_recipe, map_recipe
from fsft.evidence.comparison import Contrast, Quantity, quantity
from fsft.evidence.ledger import Ledger, accuracy_curves
from fsft.evidence.statistics import Difference, Summary, bootstrap_difference, summarize, welch
from fsft.evidence.tables import part_name
from fsft.maps.scorefile import MapScores
from fsft.methods import METHODS
from fsft.recipe import Recipe

NOT_RUN, NOT_OFFERED = "not run", "–"

# Chapter 6: minutes of real training on real images say whether a method trains at all, and nothing about the paper's
# numbers.

SHORT_RUNS: tuple[str, ...] = (
    *("baseline", "fsft", "fsft-sd", "cutout", "cutout+fsft", "mixup", "mixup+fsft", "sla", "sla-sd", "sla+fsft"),
    *("after-layer1", "after-layer2", "after-layer3"),
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
        cells = {column: _short_cell(ledger, recipe, modes) for column, modes in _COLUMNS.items()}
        cells["best epoch, single (%)"] = _short_cell(ledger, recipe, _COLUMNS["single (%)"], "best")
        rows.append({"trained with": " + ".join(parts), "runs": len(ledger.runs(recipe))} | cells)
    return pd.DataFrame(rows)


def _short_cell(ledger: Ledger, recipe: Recipe, modes: tuple[str, ...], epoch: str = "last") -> str:
    if not ledger.runs(recipe):
        return NOT_RUN
    offered = [found for mode in modes if (found := Quantity(recipe, mode).summary(ledger, epoch))]
    return offered[0].text() if offered else NOT_OFFERED


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

    `images`: bootstrap over images (these networks, other images); `both`: over seeds and images; `seeds`: Welch on the
    networks' means (other networks). The last two are without ends where there is one network.
    """

    images: Difference
    both: Difference
    seeds: Difference

    @property
    def cells(self) -> dict[str, Any]:
        """The cells of a table's row."""
        low, high = self.seeds.low, self.seeds.high
        useless = low is not None and high is not None and high - low > 100  # two networks may say nothing
        return {
            "difference (points)": self.images.gain,
            "over images": self.images.interval,
            "over images and seeds": self.both.interval,
            "over seeds (Welch)": "wider than 100 points" if useless else self.seeds.interval,
        }


def compare_maps(a: np.ndarray, b: np.ndarray) -> MapComparison:
    """Scores (S, n) in percent of two methods on the same n images."""
    of_networks = [summarize([float(value) for value in np.atleast_2d(rows).mean(1)]) for rows in (a, b)]
    images, seeds = bootstrap_difference(a, b, over_seeds=False), welch(*of_networks)
    alone = min(images.n) < 2  # nothing to resample
    both = Difference(images.gain, None, None, "bootstrap", images.n) if alone else bootstrap_difference(a, b)
    return MapComparison(images, both, seeds)


def seeds_text(found: Difference) -> str:
    """How many seeds are behind a difference, said plainly."""
    if found.n == (1, 1):
        return "one seed each"
    return f"{found.n[0]} seeds each" if found.n[0] == found.n[1] else f"{found.n[0]} and {found.n[1]} seeds"


def answer(comparison: MapComparison, where: str) -> str:
    """The answer to "does FSFT look at the object more?", from the energy inside it: one sentence."""
    of_images, of_seeds = (found.within(0, math.inf) for found in (comparison.images, comparison.seeds))
    said = "Yes" if of_images else "No, less"
    if of_images is None:
        said = "Not settled: even for these very networks the interval holds zero"
    elif of_seeds != of_images:
        said = f"{said}, for these networks; for others it is not settled"
    return (
        f"{said}: on {where} {comparison.images.gain:+.1f} points of a map's mass lie on the object (95 % intervals: "
        f"over images {comparison.images.interval}, over networks {comparison.seeds.interval}; "
        f"{seeds_text(comparison.images)})."
    )


def by_seed(scored: Sequence[MapScores], recipe: Recipe, kind: str, score: str) -> np.ndarray:
    """One score of every run of a recipe, whatever its name: (S, n) in percent, by seed; (0, 0) without a run."""
    of_recipe = [run for run in scored if run["slug"].endswith(f"-{recipe.digest[:8]}")]
    found = {run["seed"]: run["scores"][kind][score] for run in of_recipe}
    if len(counts := sorted(set(map(len, found.values())))) > 1:
        said = f"found {counts} of {recipe.name}: run 'fsft localize' with one --images"
        raise ValueError(f"expected the same images for every seed, {said}")
    return np.array([found[seed] for seed in sorted(found)]) if found else np.empty((0, 0))


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
                row = {"FSFT's map": label, "score": score.replace("iou@", "IoU at ")}
                row |= {"baseline (%)": b.mean(), "FSFT (%)": a.mean()}
                rows.append(row | compare_maps(a, b).cells)
    return pd.DataFrame(rows)


def shortcut_frame(ledger: Ledger, scored: Sequence[MapScores]) -> pd.DataFrame:
    """The shortcut test, a row for each correlation and method: accuracy, and the maps' mass on the background.

    In each, a list with one value in percent for each seed: accuracy on backgrounds that say nothing (last epoch;
    single inference for FSFT), and the mass outside the digit of the Grad-CAM maps of the true class.
    """
    rows = []
    for correlation in CORRELATIONS:
        for method, label in SHORTCUT_METHODS.items():
            recipe, mode = recipes[f"cpu/shortcut/{correlation}/{method}"], "si" if method == "fsft" else "baseline"
            accuracy = list(Quantity(recipe, mode).values(ledger).values())
            inside = by_seed(scored, recipe, f"grad-cam/{mode}", "energy")
            outside = [float(100 - value) for value in inside.mean(1)] if inside.size else []
            row = {"correlation": correlation, "method": label, "runs": len(accuracy)}
            rows.append(row | {"accuracy": accuracy, "background": outside})
    return pd.DataFrame(rows)


LEARNED = 3.0  # times as often right as by guessing


def unlearned(networks: Mapping[str, Sequence[float]], classes: int) -> str:
    """Says which networks have hardly learned, so that nobody interprets them; an empty text where all have.

    `networks` maps names to test accuracies in percent, one for each seed; the worst counts.
    """
    guess = 100 / classes
    weak = [f"{name} {min(values):.1f} %" for name, values in networks.items() if min(values) < LEARNED * guess]
    said = f"Not interpreted, for a network has hardly learned: {', '.join(weak)} right, by guessing {guess:.1f} %."
    return said if weak else ""


# Chapters 4 and 13: the method taken apart, and its gain against what the baseline has fitted.

PARTS = ("baseline", "masks", "two-heads", "fsft")


def parts(family: str, rate: str = "") -> dict[str, Quantity]:
    """Single inference of {no masks, masks} x {one classifier, two}; `family` such as ``cpu/split/basic``.

    `rate` is "" or "-x5", the joint classifiers' rate. One classifier without masks is the baseline.
    """
    found = {part: recipes.get(f"{family}/{part}{rate}") for part in PARTS}
    modes = {"baseline": "baseline"}
    return {part: Quantity(one, modes.get(one.method, "si")) for part, one in found.items() if one is not None}


def parts_frame(ledger: Ledger, family: str) -> pd.DataFrame:
    """The method taken apart: accuracies in percent, and the gain over the baseline in points with its interval."""
    rows = []
    reference = parts(family)["baseline"]
    for rate in ("", "-x5"):
        for one in parts(family, rate).values():
            found, trained = one.summary(ledger), replace(one, kind="training accuracy").summary(ledger)
            gain = None if one == reference else Contrast((one,), (reference,)).observed(ledger)
            rows.append(
                {
                    "Trained with": part_name(one.recipe),
                    "Gain (points)": f"{gain.gain:+.2f}" if gain else NOT_OFFERED if one == reference else NOT_RUN,
                    "95 % interval": gain.interval if gain else NOT_OFFERED,
                    "Accuracy (%)": found.text() if found else NOT_RUN,
                    "On training images (%)": trained.text() if trained else NOT_OFFERED,
                    "Seeds": found.n if found else 0,
                }
            )
    return pd.DataFrame(rows)


def probed_frame(ledger: Ledger, family: str) -> pd.DataFrame:
    """What the networks of a family were asked after training, see `PROBED`: means over seeds in percent."""
    rows = []
    for one in (*parts(family).values(), *parts(family, "-x5").values()):
        asked = [run.probe["features"] for run in ledger.runs(one.recipe) if "features" in run.probe]
        if asked:
            right, share = pd.DataFrame(asked).mean(), replace(one, kind="pretext task").summary(ledger)
            kept = replace(one, kind="image without a quadrant").summary(ledger)
            rows.append(
                {
                    "Trained with": part_name(one.recipe),
                    "Accuracy (%)": right["as it is"],
                    "Without copies (%)": right["without copies"],
                    "With another classifier (%)": right["linear"],
                    "A quadrant of the image hidden (%)": right["image without a quadrant"],
                    "Kept (%)": kept.mean if kept else math.nan,
                    "A quadrant of the features dropped (%)": right["features without a quadrant"],
                    "Pretext task's loss (% of guessing)": share.text() if share else NOT_OFFERED,
                    "Seeds": len(asked),
                }
            )
    return pd.DataFrame(rows)


def budgets_frame(ledger: Ledger) -> pd.DataFrame:
    """The gain of single inference at the budgets of the map that have run, in points and in log-odds ln(p / (1 - p)).

    Points do not compare well: at an accuracy of 23 % there is less to lose than at 53 %.
    """
    rows = []
    for images, epochs in BUDGETS:
        base = Quantity(map_recipe(images, epochs), "baseline").summary(ledger)
        for rate in (1.0, 5.0):
            recipe = map_recipe(images, epochs, "fsft", rate)
            found = Quantity(recipe, "si").summary(ledger)
            if base and found:
                odds = [math.log(one.mean / (100 - one.mean)) for one in (found, base)]
                row = {"Images per class": images, "Epochs": epochs, "Trained with": part_name(recipe)}
                row |= {"Baseline (%)": base.mean, "Gain (points)": found.mean - base.mean}
                rows.append(row | {"Gain (log-odds)": odds[0] - odds[1], "Seeds": min(found.n, base.n)})
    return pd.DataFrame(rows)


def steps(ledger: Ledger, family: str, rate: str = "") -> tuple[Summary, dict[str, Difference]] | None:
    """The baseline, and what leads from it to FSFT: each part alone, both beyond that, and the whole.

    Over the seeds that all four networks have, so that the parts add up; None where there is none.
    """
    of = parts(family, rate)
    shared = set.intersection(*(set(one.values(ledger)) for one in of.values()))
    if len(of) < len(PARTS) or not shared:
        return None
    ledger = Ledger(run for run in ledger if run.seed in shared)
    base, masks, heads, both = of.values()
    asked = {
        "masks alone": Contrast((masks,), (base,)),
        "second classifier alone": Contrast((heads,), (base,)),
        "both, beyond the sum": Contrast((both, base), (masks, heads)),
        "all of FSFT": Contrast((both,), (base,)),
    }
    found = {name: contrast.observed(ledger) for name, contrast in asked.items()}
    return summarize(list(base.values(ledger).values())), {name: one for name, one in found.items() if one is not None}


def beta_values(ledger: Ledger, mode: str, exact: bool) -> dict[float, list[float]]:
    """Last-epoch accuracies for each beta of Figure 4, one for each seed; empty where nothing has run.

    `exact` reads the paper's recipes, otherwise the short ones (``cpu/beta/*``).
    """
    found = {}
    for beta in paper.BETAS:
        recipe = quantity(f"fig4/resnet110/beta-{beta}").recipe if exact else beta_recipe(beta)
        found[beta] = list(Quantity(recipe, mode).values(ledger).values())
    return found
