"""Our runs beside the paper's numbers, and runs beside runs.

Only runs of the paper's own recipe are set against a printed number. Every other run is a reduced run: it is compared
with the runs that had the same budget (equal recipes but for the method), and its words say so.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from fsft.catalog import recipes
from fsft.evidence import paper
from fsft.evidence.ledger import Ledger, Run
from fsft.evidence.statistics import Difference, Summary, compare, contrast, summarize, welch
from fsft.methods import METHODS
from fsft.recipe import NO_TRAINING, Recipe

VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not run")
WORDS = {True: VERDICTS[0], False: VERDICTS[1], None: VERDICTS[2]}
TOLERANCE = 1.0  # percentage points of accuracy
OVERHEAD_TOLERANCE = 5.0  # percentage points of the baseline's cost, or a tenth of the overhead if that is more
DEVICE_BOUND = ("memory", "time")
# What a method has and the baseline has not: runs that differ only here had the same budget.
METHOD_FIELDS = ("method", "beta", "head_lr_scale", "masks", "temperature")


@dataclass(frozen=True)
class Quantity:
    """What to read off the runs of a recipe: the accuracy in an inference mode, that on training images ("training
    accuracy", evaluated without augmentation; older runs have none), a quantity of `paper.Cell`, or one of `PROBED`.

    Overheads and relative gains are percentages of `reference`, the baseline. `printed` is the paper's number.
    """

    recipe: Recipe
    mode: str
    kind: str = "accuracy"
    reference: Recipe | None = None
    printed: Summary | None = None

    def values(self, ledger: Ledger, epoch: str = "last") -> dict[int, float]:
        """Our values by seed; `epoch` is "last" or "best".

        A percentage of the baseline is one of its run with the same seed, so that its spread enters too, or of the mean
        of its runs where that seed has none. For costs only runs on the same device count.
        """
        values = {}
        for run in ledger.runs(self.recipe):
            value = _value(run, self.kind, self.mode, epoch)
            if value is not None and self.reference is not None:
                peers = [peer for peer in ledger.runs(self.reference) if self._comparable(peer, run)]
                found = {peer.seed: _value(peer, self.kind, "baseline", epoch) for peer in peers}
                usable = [number for number in found.values() if number]
                base = found.get(run.seed) or (summarize(usable).mean if usable else None)
                value = 100 * (value / base - 1) if base else None
            if value is not None:
                values[run.seed] = value
        return values

    def summary(self, ledger: Ledger, epoch: str = "last") -> Summary | None:
        """Mean and spread of our values; None without any."""
        values = list(self.values(ledger, epoch).values())
        return summarize(values) if values else None

    def _comparable(self, peer: Run, run: Run) -> bool:
        """Whether two runs may be set against each other: costs only where the same device computed in the same way."""
        ways = [[device_name(one), one.raw.get("precision"), bool(one.raw.get("compiled"))] for one in (peer, run)]
        return self.kind == "relative gain" or ways[0] == ways[1]


# What probes of a network's weights tell, in percent, with the field of a probe that it is read off: the accuracy of
# another classifier on its features, what is left of its accuracy, or of the loss by guessing among five masks.
PROBED: dict[str, tuple[str, Callable[[Mapping[str, float]], float]]] = {
    "refitted": ("features", lambda right: right["linear"]),
    "image without a quadrant": ("features", lambda right: 100 * right["image without a quadrant"] / right["as it is"]),
    "pretext task": ("loss", lambda parts: 100 * parts["mask"] / math.log(5)),
}


def _value(run: Run, kind: str, mode: str, epoch: str) -> float | None:
    if kind in PROBED:
        field, read = PROBED[kind]
        return read(run.probe[field]) if field in run.probe else None
    alone = run.device.get("jobs", 1) == 1
    if kind.startswith("memory"):  # on a CPU, the process's memory says little about the method
        return run.raw["peak_memory_mib"] if alone and run.device.get("type") == "cuda" else None
    if kind.startswith("time"):
        rate = run.raw["images_per_second"] if alone else None  # others slowed it down
        return run.recipe.batch_size / rate if rate else None
    if kind == "training accuracy":
        return run.history[-1].get("train", {}).get(mode)
    return run.last.get(mode) if epoch == "last" else run.best.get(mode, {}).get("accuracy")


@dataclass(frozen=True)
class Contrast:
    """A comparison: the sum of the quantities `plus` minus that of `minus`.

    One on each side are a difference, two a difference of differences; one alone is set against zero.
    """

    plus: tuple[Quantity, ...]
    minus: tuple[Quantity, ...] = ()

    def observed(self, ledger: Ledger) -> Difference | None:
        """What our runs say, see `fsft.evidence.statistics.compare`; None where one of the quantities has no run."""
        plus, minus = ([one.values(ledger) for one in side] for side in (self.plus, self.minus))
        if not all((*plus, *minus)):
            return None
        found = compare(plus, minus, same_runs=len({side.recipe.digest for side in (*self.plus, *self.minus)}) == 1)
        return found.exact() if self.plus[0].kind.startswith("memory") else found

    def printed(self) -> Difference | None:
        """What the paper's own printed mean ± sd say (n = 4); None where it prints no number."""
        plus, minus = ([one.printed for one in side if one.printed] for side in (self.plus, self.minus))
        complete = len(plus) == len(self.plus) and len(minus) == len(self.minus)
        return contrast(plus, minus) if complete else None

    def runs(self, ledger: Ledger) -> tuple[Run, ...]:
        """The runs of all sides."""
        return tuple(run for side in (*self.plus, *self.minus) for run in ledger.runs(side.recipe))


@cache
def quantity(key: str) -> Quantity:
    """What a cell of the paper (`paper.cells`) says, and what to read off the runs of its recipe."""
    cell = paper.cells[key]
    reference = recipes[paper.REFERENCE] if " " in cell.quantity else None  # an overhead, or a relative gain
    return Quantity(recipes[cell.recipe], cell.mode, cell.quantity, reference, cell.printed)


@dataclass(frozen=True)
class CellComparison:
    """One number of the paper beside our runs of exactly its recipe, at the `last` and the `best` epoch.

    `difference` is ours (last epoch) minus the paper's; None, as the other two, without runs.
    """

    cell: paper.Cell
    last: Summary | None
    best: Summary | None
    difference: Difference | None
    verdict: str
    note: str
    runs: tuple[Run, ...]


def compare_cell(cell: paper.Cell, ledger: Ledger) -> CellComparison:
    """One number of the paper beside ours, with a computed verdict.

    With no run of exactly the paper's recipe it is "not run". Otherwise it follows from the interval (95 %, Welch) of
    our mean at the last epoch minus the paper's; where the paper prints no spread, ours stands in for it. "reproduced":
    it lies within the tolerance, 1 point of accuracy (for an overhead in percent 5 points, or a tenth of the number if
    that is more); "not reproduced": outside, and a number that we exceed is not reproduced either; "inconclusive": it
    straddles a limit, there is none (one run), the paper prints no number, or one that belongs to its hardware.
    """
    asked = quantity(cell.id)
    ours, peak = asked.summary(ledger), asked.summary(ledger, "best")
    if ours is None:
        return CellComparison(cell, None, None, None, "not run", "", ())
    runs = tuple(run for run in ledger.runs(asked.recipe) if run.seed in asked.values(ledger))
    if cell.mean is None:
        return CellComparison(cell, ours, peak, None, "inconclusive", "the paper prints no number", runs)
    theirs = Summary(cell.mean, ours.sd if cell.sd is None else cell.sd, cell.n)
    found = welch(ours, theirs)
    if cell.quantity.startswith("memory"):
        found = found.exact()
    if cell.quantity in DEVICE_BOUND:
        return CellComparison(cell, ours, peak, found, "inconclusive", "depends on the hardware", runs)
    overhead = cell.quantity.endswith("overhead")
    limit = max(OVERHEAD_TOLERANCE, abs(cell.mean) / 10) if overhead else TOLERANCE
    note = "one run gives no interval" if ours.n == 1 else ""
    return CellComparison(cell, ours, peak, found, WORDS[found.within(-limit, limit)], note, runs)


@dataclass(frozen=True)
class Gain:
    """An inference mode of a recipe against the baseline of equal budget.

    `fitted` is the baseline's accuracy on its training images, in percent; None where its runs are too old to tell.
    """

    recipe: Recipe
    mode: str
    difference: Difference
    fitted: float | None
    runs: tuple[Run, ...]


@cache
def exact_digests() -> frozenset[str]:
    """The digests of the recipes behind the paper's numbers."""
    return frozenset(recipes[name].digest for name in paper.recipe_names)


def is_exact(run: Run) -> bool:
    """Whether a run used one of the paper's recipes as it is."""
    return run.digest in exact_digests()


def device_name(run: Run) -> str:
    """What computed, such as a GPU's or a processor's name."""
    return str(run.device.get("name") or run.device.get("type") or "unknown device")


def gains(ledger: Ledger) -> list[Gain]:
    """All comparisons with the baseline that the ledger allows at equal budget, in every inference mode.

    The baseline's recipe is equal in every field but the method's own. Runs on photodigits are left out: they serve
    chapter 11's shortcut test, in which training and test images differ on purpose, and no number of the paper.
    """
    trained = {run.digest: run.recipe for run in ledger if run.recipe.dataset != "photodigits"}.values()
    baselines: dict[str, Recipe] = {}
    for recipe in trained:
        if recipe.method == "baseline":
            baselines.setdefault(recipe_key(recipe, *METHOD_FIELDS), recipe)
    found = []
    for recipe in trained:
        baseline = baselines.get(recipe_key(recipe, *METHOD_FIELDS))
        if baseline is not None and recipe is not baseline:
            fitted = Quantity(baseline, "baseline", "training accuracy").summary(ledger)
            for mode in ("si", "ag-last" if METHODS[recipe.method].taps == 1 else "ag", "sd"):
                against = Contrast((Quantity(recipe, mode),), (Quantity(baseline, "baseline"),)).observed(ledger)
                if against is not None:
                    runs = (*ledger.runs(recipe), *ledger.runs(baseline))
                    found.append(Gain(recipe, mode, against, fitted.mean if fitted else None, runs))
    return found


def recipe_key(recipe: Recipe, *without: str) -> str:
    """The fields that decide a training but for some, as text: recipes with equal keys differ in those alone."""
    dropped = {*NO_TRAINING, *without}
    return json.dumps({key: value for key, value in recipe.as_dict().items() if key not in dropped}, sort_keys=True)
