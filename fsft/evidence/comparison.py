"""Our runs beside the paper's numbers, and runs beside runs.

Only runs of the paper's own recipe, at no distance from it, are set against a printed number. Every other run is
a reduced run: it is compared with the runs that had the same budget (equal recipes but for the method), and its
words say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fsft.evidence import paper
from fsft.evidence.ledger import Ledger, Result
from fsft.evidence.statistics import Difference, Summary, compare, paired, summarize, welch
from fsft.recipe import Recipe

VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run")
WORDS = {True: "reproduced", False: "not reproduced", None: "inconclusive"}
TOLERANCE = 1.0  # percentage points of accuracy
OVERHEAD_TOLERANCE = 5.0  # percentage points of the baseline's cost, or a tenth of the overhead if that is more
DEVICE_BOUND = ("memory", "time")
# What a method has and the baseline has not: runs that differ only here had the same budget.
METHOD_FIELDS = ("method", "beta", "head_lr_scale", "masks")
NAMES = ("name", "origin")


@dataclass(frozen=True)
class CellComparison:
    """One number of the paper beside ours.

    `last` and `best` summarize our runs of exactly this recipe, at the last and at the best epoch (None without
    runs); `difference` is ours (last epoch) minus the paper's.
    """

    cell: paper.Cell
    last: Summary | None
    best: Summary | None
    difference: Difference | None
    verdict: str
    note: str
    runs: tuple[Result, ...]


@dataclass(frozen=True)
class Gain:
    """The difference between two methods or inference modes, of runs with the same budget.

    `recipe` and `distance` are those of the first side; `exact` says that it is the paper's own recipe. `paired` is
    the difference within shared seeds, reported beside the interval that decides.
    """

    recipe: Mapping[str, Any]
    distance: Mapping[str, Any]
    exact: bool
    label: str
    modes: tuple[str, str]
    methods: tuple[str, str]
    difference: Difference
    paired: Difference | None
    runs: tuple[Result, ...]

    @property
    def usual_form(self) -> bool:
        """Whether beta is 1 and the masks are the paper's: other weights and masks have chapters of their own."""
        return bool(self.recipe["beta"] == 1 and self.recipe.get("masks", "quadrants") == "quadrants")

    @property
    def word(self) -> str:
        """What the interval says: gain, loss, no clear difference, or that there is none."""
        if self.difference.low is None or self.difference.high is None:
            return "no interval"
        if self.difference.low > 0:
            return "gain"
        return "loss" if self.difference.high < 0 else "no clear difference"

    @property
    def verdict(self) -> str:
        """Such as "reduced: gain +1.20, interval [+0.31, +2.09]"; without "reduced" for the paper's recipe."""
        prefix = "" if self.exact else "reduced: "
        return f"{prefix}{self.word} {self.difference.gain:+.2f}, interval {self.difference.interval}"


def exact_runs(ledger: Ledger, recipe: str) -> list[Result]:
    """The runs of the paper's recipe of that name, at no distance from it."""
    return [result for result in ledger if not result["distance"] and origin(result) == recipe]


def is_exact(result: Result) -> bool:
    """Whether a run used one of the paper's recipes as it is."""
    return not result["distance"] and origin(result) in paper.recipe_names


def origin(result: Result) -> str:
    """The name of the paper's recipe that a run, perhaps reduced, derives from."""
    return result["recipe"].get("origin") or result["recipe_name"]


def observed(cell: paper.Cell, ledger: Ledger, epoch: str = "last") -> dict[int, float]:
    """Our values of a cell by seed, from runs of exactly its recipe; `epoch` is "last" or "best".

    Overheads and relative gains are percentages of the baseline: of its run with the same seed, so that its spread
    enters too, or of the mean of its runs where that seed has none. For costs only runs on the same device count.
    """
    values = {}
    for result in exact_runs(ledger, cell.recipe):
        value = _quantity(result, cell, epoch)
        if value is not None and " " in cell.quantity:  # relative to the baseline
            peers = [peer for peer in exact_runs(ledger, cell.reference) if _comparable(peer, result, cell)]
            reference = {peer["seed"]: _quantity(peer, cell, epoch, "baseline") for peer in peers}
            usable = {seed: number for seed, number in reference.items() if number}
            mean = summarize(list(usable.values())).mean if usable else None
            base = usable.get(result["seed"], mean)
            value = 100 * (value / base - 1) if base else None
        if value is not None:
            values[result["seed"]] = value
    return values


def _comparable(peer: Result, result: Result, cell: paper.Cell) -> bool:
    """Whether two runs may be set against each other: costs only where the same device computed in the same way."""
    way = ("precision", "compiled")
    # Results have no ``compiled`` since steps are no longer compiled, which is what False meant.
    same = device_name(peer) == device_name(result) and all(
        (peer.get(key) or False) == (result.get(key) or False) for key in way
    )
    return cell.quantity == "relative gain" or same


def _quantity(result: Result, cell: paper.Cell, epoch: str, mode: str | None = None) -> float | None:
    if cell.quantity.startswith("memory"):  # on a CPU, the process's memory says little about the method
        return result["peak_memory_mib"] if result["device"].get("type") == "cuda" else None
    if cell.quantity.startswith("time"):
        rate = None if result["device"].get("jobs", 1) > 1 else result["images_per_second"]  # others slowed it down
        return result["recipe"]["batch_size"] / rate if rate else None
    mode = mode or cell.mode
    return result["last"].get(mode) if epoch == "last" else result["best"].get(mode, {}).get("accuracy")


def device_name(result: Result) -> str:
    """What computed, such as a GPU's or a processor's name."""
    device = result["device"]
    return str(device.get("name") or device.get("type") or "unknown device")


def compare_cell(cell: paper.Cell, ledger: Ledger) -> CellComparison:
    """One number of the paper beside ours, with a computed verdict.

    With no run of exactly the paper's recipe the verdict is "not run". Otherwise it follows from the interval
    (95 %, Welch) of our mean at the last epoch minus the paper's mean; where the paper prints no spread, ours
    stands in for it:

    - "reproduced": the interval lies within the tolerance, 1 point of accuracy (for an overhead in percent,
      5 points, or a tenth of the number if that is more);
    - "not reproduced": it lies outside, on either side: a number that we exceed is not reproduced either;
    - "inconclusive": it straddles the tolerance, or there is none (one run), or the paper prints no number, or
      the number belongs to the paper's hardware.

    A verdict on a number says nothing about a gain between two numbers: that is a claim, see `fsft.evidence.claims`.
    """
    last, best = observed(cell, ledger), observed(cell, ledger, "best")
    runs = tuple(result for result in exact_runs(ledger, cell.recipe) if result["seed"] in last)
    if not last:
        return CellComparison(cell, None, None, None, "not run", "", ())
    ours, peak = summarize(list(last.values())), summarize(list(best.values()))
    if cell.mean is None:
        return CellComparison(cell, ours, peak, None, "inconclusive", "the paper prints no number", runs)
    printed = Summary(cell.mean, ours.sd if cell.sd is None else cell.sd, cell.n)
    difference = welch(ours, printed)
    if cell.quantity in DEVICE_BOUND:
        return CellComparison(cell, ours, peak, difference, "inconclusive", "depends on the hardware", runs)
    limit = tolerance(cell)
    verdict = WORDS[difference.within(-limit, limit)]
    note = "one run gives no interval" if ours.n == 1 else ""
    return CellComparison(cell, ours, peak, difference, verdict, note, runs)


def tolerance(cell: paper.Cell) -> float:
    """How far our mean may be from the paper's, in percentage points, to count as reproduced."""
    if cell.quantity.endswith("overhead"):
        return max(OVERHEAD_TOLERANCE, abs(cell.mean or 0.0) / 10)
    return TOLERANCE


def gains(ledger: Ledger) -> list[Gain]:
    """All comparisons between methods, and between inference modes, that the ledger allows at equal budget.

    For each recipe with joint classifiers: SI and AG, or SD where there is self-distillation, against the baseline
    whose recipe is equal in every field but the method's own; AG against SI within the same networks; SD against the
    SI of the runs of the same method without self-distillation. Runs on photodigits are left out: they serve chapter
    11's shortcut test, in which training and test images differ on purpose, and no number of the paper.
    """
    groups: dict[str, list[Result]] = {}
    for result in ledger:
        if result["recipe"]["dataset"] == "photodigits":
            continue
        groups.setdefault(recipe_key(result["recipe"], NAMES), []).append(result)
    found = []
    for runs in groups.values():
        method = runs[0]["recipe"]["method"]
        if method == "baseline":
            continue
        baseline = _partners(groups.values(), runs[0], "baseline", (*NAMES, *METHOD_FIELDS))
        distilled, plain_method = method.endswith("-sd"), method.removesuffix("-sd")
        pairs = [(mode, baseline, "baseline", "baseline") for mode in (("sd",) if distilled else ("si", "ag"))]
        if distilled:
            plain = _partners(groups.values(), runs[0], plain_method, (*NAMES, "method"))
            pairs.append(("sd", plain, "si", plain_method))
        else:
            pairs.append(("ag", runs, "si", method))
        found += [_gain(runs, mode, others, other, to) for mode, others, other, to in pairs if others]
    return [gain for gain in found if gain is not None]


def recipe_key(recipe: Mapping[str, Any], without: Iterable[str]) -> str:
    """A recipe's fields but for some, as text; a field that the package has gained since then has its default."""
    dropped = set(without)
    complete = Recipe.from_dict(recipe).as_dict()
    return json.dumps({key: value for key, value in complete.items() if key not in dropped}, sort_keys=True)


def _partners(groups: Iterable[list[Result]], result: Result, method: str, without: Iterable[str]) -> list[Result]:
    """The runs of `method` whose recipe is that of `result` but for some fields."""
    key = recipe_key(result["recipe"], without)
    for runs in groups:
        if runs[0]["recipe"]["method"] == method and recipe_key(runs[0]["recipe"], without) == key:
            return runs
    return []


def _side(method: str, mode: str) -> str:
    """Such as "FSFT-SI"; a baseline has one mode."""
    return mode if mode == "baseline" else f"{method.removesuffix('-sd').upper()}-{mode.upper()}"


def _gain(runs: list[Result], mode: str, others: list[Result], other: str, method: str) -> Gain | None:
    a = {result["seed"]: result["last"][mode] for result in runs if mode in result["last"]}
    b = {result["seed"]: result["last"][other] for result in others if other in result["last"]}
    if not a or not b:
        return None
    same = runs is others
    first = runs[0]
    return Gain(
        recipe=first["recipe"],
        distance=first["distance"],
        exact=is_exact(first),
        label=f"{_side(first['recipe']['method'], mode)} against {_side(method, other)}",
        modes=(mode, other),
        methods=(first["recipe"]["method"], method),
        difference=compare(a, b, same_runs=same),
        paired=paired(a, b) if a.keys() & b.keys() else None,
        runs=tuple(runs if same else [*runs, *others]),
    )
