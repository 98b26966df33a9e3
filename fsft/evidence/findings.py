"""What we found beside the paper, as data: sentences of ours about reduced runs, each with its test.

The paper's claims (`fsft.evidence.claims`) are judged by runs of the paper's recipes alone. A finding compares reduced
runs at equal budget, and its words say how much a single seed is worth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fsft.catalog import recipes
from fsft.catalog.cpu import MAP_BUDGETS, SHORT
from fsft.evidence.ledger import Ledger, Result
from fsft.evidence.paper import BETAS
from fsft.evidence.probes import beyond_chance
from fsft.evidence.statistics import Difference, compare, contrast, summarize
from fsft.recipe import Recipe

FINDING_WORDS = ("shown", "seen", "mixed", "not seen", "refuted", "not run")
Side = tuple[Recipe, str]  # a recipe, and the inference mode to read
Pair = tuple[Side, Side]


@dataclass(frozen=True)
class Finding:
    """One sentence of ours and its test: each pair (a, b) has a - b between `low` and `high`, in points.

    A trend is two pairs: the difference of the first minus that of the second must lie there. `probe` names the
    images of a probe instead; their recognition above chance must lie there.
    """

    id: str
    sentence: str
    chapter: str
    pairs: tuple[Pair, ...] = ()
    trends: tuple[tuple[Pair, Pair], ...] = ()
    low: float = 0.0
    high: float = math.inf
    probe: str | None = None


@dataclass(frozen=True)
class FindingVerdict:
    """A finding with what the runs say: one difference a comparison, None where a side has not run."""

    finding: Finding
    differences: tuple[Difference | None, ...]
    runs: tuple[Result, ...]

    @property
    def found(self) -> list[Difference]:
        """The comparisons that have run."""
        return [difference for difference in self.differences if difference is not None]

    @property
    def verdict(self) -> str:
        """One of `FINDING_WORDS`.

        - "shown": the 95 % interval of every comparison lies in the range;
        - "seen": every difference does, but some have no interval (single runs) or a wider one;
        - "mixed": some differences do and some do not;
        - "not seen": no difference does;
        - "refuted": no difference does, and the interval of at least one lies wholly outside;
        - "not run": there is nothing to compare.
        """
        low, high = self.finding.low, self.finding.high
        if not self.found:
            return "not run"
        inside = [low < difference.gain < high for difference in self.found]
        by_interval = [difference.within(low, high) for difference in self.found]
        if all(inside):
            return "shown" if all(by_interval) and len(self.found) == len(self.differences) else "seen"
        if any(inside):
            return "mixed"
        return "refuted" if False in by_interval else "not seen"

    @property
    def strength(self) -> str:
        """Such as "3 of 5 comparisons run, one seed each" or "5 of 5 comparisons run, 2 to 3 seeds"."""
        counts = [min(difference.n) for difference in self.found]
        unit = "network" if self.finding.probe else "seed"
        text = f"{len(self.found)} of {len(self.differences)} comparison{'s' if len(self.differences) != 1 else ''} run"
        if not counts:
            return text
        if max(counts) == 1:
            return f"{text}, one {unit} each"
        spread = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
        return f"{text}, {spread} {unit}s each"


def map_recipe(images: int, epochs: int, method: str = "baseline", scale: float = 1.0, **changes: Any) -> Recipe:
    """The recipe of a cell of chapter 13's map; `images` per class, 500 being all of CIFAR-100."""
    cell: dict[str, Any] = SHORT | {"model": "resnet20", "epochs": epochs, "head_lr_scale": scale}
    cell["images_per_class"] = None if images == 500 else images
    return recipes[f"table1/resnet56/{method}"].reduced(**cell | changes)


def runs_of(ledger: Ledger, recipe: Recipe) -> list[Result]:
    """The runs of a recipe, whatever its name: those with the same digest."""
    wanted = recipe.digest
    return [result for result in ledger if Recipe.from_dict(result["recipe"]).digest == wanted]


def difference(ledger: Ledger, a: Side, b: Side) -> tuple[Difference | None, tuple[Result, ...]]:
    """Mean accuracy of side a minus side b at the last epoch, and the runs; None where a side has none."""
    (first, values), (second, others) = _read(ledger, a), _read(ledger, b)
    if not values or not others:
        return None, ()
    same = a[0].digest == b[0].digest
    runs = first if same else [*first, *second]
    return compare(values, others, same_runs=same), tuple(runs)


def trend(ledger: Ledger, later: Pair, earlier: Pair) -> tuple[Difference | None, tuple[Result, ...]]:
    """The difference of one pair minus that of another, and the runs; None where one of the four has none."""
    read = [_read(ledger, side) for side in (*later, *earlier)]
    if not all(values for _, values in read):
        return None, ()
    a, b, c, d = (summarize(list(values.values())) for _, values in read)
    return contrast((a, d), (b, c)), tuple(run for runs, _ in read for run in runs)


def _read(ledger: Ledger, side: Side) -> tuple[list[Result], dict[int, float]]:
    """The runs of a side, and their accuracy at the last epoch by seed."""
    recipe, mode = side
    runs = runs_of(ledger, recipe)
    return runs, {run["seed"]: run["last"][mode] for run in runs if mode in run["last"]}


BUDGETS = tuple((images, epochs) for images, all_epochs in MAP_BUDGETS.items() for epochs in all_epochs)


def _at(images: int, epochs: int, a: tuple[str, float, str], b: tuple[str, float, str]) -> Pair:
    """A comparison, (method, scale, mode) against another, at one budget of the map."""
    first, second = ((map_recipe(images, epochs, method, scale), mode) for method, scale, mode in (a, b))
    return first, second


def _over_budgets(a: tuple[str, float, str], b: tuple[str, float, str]) -> tuple[Pair, ...]:
    """The same comparison at every budget of the map."""
    return tuple(_at(*budget, a, b) for budget in BUDGETS)


def _over_time(a: tuple[str, float, str], b: tuple[str, float, str]) -> tuple[tuple[Pair, Pair], ...]:
    """The same comparison after more epochs and after fewer, of as many images."""
    return tuple(
        (_at(images, longer, a, b), _at(images, shorter, a, b))
        for images, all_epochs in MAP_BUDGETS.items()
        for shorter, longer in pairwise(all_epochs)
    )


_BASELINE, _SI, _SI5 = ("baseline", 1.0, "baseline"), ("fsft", 1.0, "si"), ("fsft", 5.0, "si")


def beta_side(beta: float) -> Side:
    """Single inference of the short run with a weight of the penultimate classifier."""
    return map_recipe(100, 10, "fsft", 5.0, beta=beta), "si"


OTHER_REGIONS = ("halves", "kept-quadrants", "ninths")


def _short_masks(family: str) -> Side:
    """Single inference of the short run with a family of masks, by the family's own recipe."""
    return recipes["cpu/short-cifar100/fsft" if family == "quadrants" else f"cpu/masks/{family}"], "si"


findings: dict[str, Finding] = {
    finding.id: finding
    for finding in (
        Finding(
            "slow-start",
            "In short training with the paper's learning rates, FSFT by single inference ends below its baseline.",
            "13",
            _over_budgets(_BASELINE, _SI),
        ),
        Finding(
            "scale-helps",
            "Five times the learning rate for the joint classifiers takes back a part of that.",
            "13",
            _over_budgets(_SI5, _SI),
        ),
        Finding(
            "scale-suffices",
            "With five times the rate, FSFT by single inference ends above its baseline.",
            "13",
            _over_budgets(_SI5, _BASELINE),
        ),
        Finding(
            "longer-helps",
            "With the paper's rates, longer training on as many images takes back a part of the lag.",
            "13",
            trends=_over_time(_SI, _BASELINE),
        ),
        Finding(
            "student-helps",
            "The distilled classifier's loss raises single inference, which never asks that classifier.",
            "13",
            _over_budgets(("fsft-sd", 1.0, "si"), _SI),
        ),
        Finding(
            "student-beats-baseline",
            "With five times the rate, the self-distillation classifier ends above the baseline.",
            "13",
            _over_budgets(("fsft-sd", 5.0, "sd"), _BASELINE),
        ),
        Finding(
            "beta-flat-short",
            "In short training, too, the weight beta hardly matters from 0.2 to 1.0 (within 1 point of beta = 1).",
            "13",
            tuple((beta_side(beta), beta_side(1.0)) for beta in BETAS[1:-1]),
            low=-1.0,
            high=1.0,
        ),
        Finding(
            "beta-too-low-short",
            "In short training, too, beta = 0.1 falls behind beta = 1.",
            "13",
            ((beta_side(1.0), beta_side(0.1)),),
        ),
        Finding(
            "masks-matter",
            "The masks raise single inference: it ends above the same network with both classifiers and no masks.",
            "14",
            ((_short_masks("quadrants"), _short_masks("none")),),
        ),
        Finding(
            "quadrants-not-special",
            "Other ways to drop a region do as well as the quadrants: single inference within 1 point.",
            "14",
            tuple((_short_masks(family), _short_masks("quadrants")) for family in OTHER_REGIONS),
            low=-1.0,
            high=1.0,
        ),
        Finding(
            "padding-suffices",
            "The dropped quadrant can be named from the zero padding alone: on blank images, beyond chance.",
            "4",
            probe="blank",
        ),
        Finding(
            "padding-needed",
            "Without a border, the dropped quadrant of a blank image is named no better than by chance.",
            "4",
            probe="blank, no border",
            low=-math.inf,
            high=1.0,
        ),
    )
}


def judge_finding(finding: Finding, ledger: Ledger, probes: Sequence[dict[str, Any]] = ()) -> FindingVerdict:
    """What the runs, or the probes of their weights, say about a finding."""
    if finding.probe is not None:
        files = {probe["run"] for probe in probes}
        runs = tuple(result for result in ledger if result["file"] in files)
        return FindingVerdict(finding, (beyond_chance(list(probes), finding.probe),), runs)
    compared = [difference(ledger, a, b) for a, b in finding.pairs]
    compared += [trend(ledger, later, earlier) for later, earlier in finding.trends]
    runs_by_file = {run["file"]: run for _, runs in compared for run in runs}
    return FindingVerdict(finding, tuple(found for found, _ in compared), tuple(runs_by_file.values()))
