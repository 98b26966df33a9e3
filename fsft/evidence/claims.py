"""What the paper asserts, as data, and the verdict that our runs give on it.

Each claim compares cells of `fsft.evidence.paper`, and holds when the interval of every difference lies where the claim
says. Prose that leans on a verdict is bound to it, see `fsft.evidence.verdicts`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from fsft.evidence import paper
from fsft.evidence.comparison import exact_runs, observed
from fsft.evidence.ledger import Ledger, Result
from fsft.evidence.statistics import Difference, Summary, against_constant, compare, welch


@dataclass(frozen=True)
class Claim:
    """One assertion of the paper and its test.

    Each pair names two cells (a, b); the claim holds for it when the difference a - b lies between `low` and
    `high` (percentage points). With b = None the value of a itself must lie there. A claim without pairs is
    about pictures: no number of the paper can test it, and `sentence` says so.
    """

    id: str
    sentence: str
    where: str
    pairs: tuple[tuple[str, str | None], ...] = ()
    low: float = 0.0
    high: float = math.inf


def _versus(keys: tuple[str, ...], a: tuple[str, ...], b: str) -> tuple[tuple[str, str | None], ...]:
    return tuple((f"{key}/{mode}", f"{key}/{b}") for key in keys for mode in a)


_MODELS = tuple(f"table1/{key}" for key in ("resnet56", "resnet110", "resnet164", "wrn28-10", "pyramidnet"))
_DATASETS = ("table3/resnet110", "table4/cub200", "table4/stanford-dogs", "table4/stanford-cars")
_COST = "table5/resnet110"
_ORDER = ("after-layer1", "after-layer2", "after-layer3", "baseline")
_ALL = ("si", "ag", "sd")

# Four limits are ours, because the paper's words give none: half a point for "almost the same"; one point, half the
# gain of ResNet-110 itself, for "excellent tolerance"; and 12 % and 11 % for "cheap", its own 11.7 % and 10.1 %
# rounded up.
claims: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim(
            "si-beats-baseline",
            "On each of five models, FSFT beats the baseline by single inference: only the training differs.",
            "Table 1, Section 4.1",
            _versus(_MODELS, ("si",), "baseline"),
        ),
        Claim(
            "ag-beats-si",
            "On each of five models, aggregated inference improves on single inference.",
            "Table 1, Section 4.1",
            _versus(_MODELS, ("ag",), "si"),
        ),
        Claim(
            "sd-beats-si",
            "On each of five models, self-distillation inference improves on single inference.",
            "Table 1, Section 4.1",
            _versus(_MODELS, ("sd",), "si"),
        ),
        Claim(
            "sd-beats-baseline",
            "The self-distillation classifier, shaped like the baseline's, beats the baseline everywhere.",
            "Section 3.2, Tables 1, 3, 4",
            _versus(_MODELS + _DATASETS, ("sd",), "baseline"),
        ),
        *(
            Claim(
                f"improves-{name}",
                f"All three inference modes beat the baseline on {label}.",
                where,
                _versus((key,), _ALL, "baseline"),
            )
            for name, label, where, key in (
                ("tiny-imagenet", "tiny-ImageNet", "Table 3, Section 4.1", _DATASETS[0]),
                ("cub200", "CUB-200-2011", "Table 4, Section 4.2", _DATASETS[1]),
                ("stanford-dogs", "Stanford Dogs", "Table 4, Section 4.2", _DATASETS[2]),
                ("stanford-cars", "Stanford Cars", "Table 4, Section 4.2", _DATASETS[3]),
            )
        ),
        *(
            Claim(
                f"adds-to-{name}",
                f"FSFT, aggregated, adds accuracy on top of {label}.",
                "Table 2, Section 4.1",
                ((f"table2/resnet110/{name}+fsft", f"table2/resnet110/{name}"),),
            )
            for name, label in (("cutout", "Cutout"), ("mixup", "Mixup"), ("sla", "SLA with four rotations"))
        ),
        Claim(
            "time-overhead",
            "FSFT costs at most 12 % more training time than the baseline.",
            "Table 5, Section 4.1",
            ((f"{_COST}/fsft/time-overhead", None),),
            low=-math.inf,
            high=12.0,
        ),
        Claim(
            "memory-overhead",
            "FSFT costs at most 11 % more GPU memory than the baseline.",
            "Table 5, Section 4.1",
            ((f"{_COST}/fsft/memory-overhead", None),),
            low=-math.inf,
            high=11.0,
        ),
        Claim(
            "cheaper-than-sla",
            "FSFT adds less training time and less GPU memory than SLA does.",
            "Table 5, Section 4.1",
            tuple((f"{_COST}/sla/{kind}-overhead", f"{_COST}/fsft/{kind}-overhead") for kind in ("time", "memory")),
        ),
        Claim(
            "almost-sla",
            "By single inference FSFT reaches almost the accuracy of SLA (within 0.5 point).",
            "Table 5, Section 4.1",
            ((f"{_COST}/fsft/si", f"{_COST}/sla/si"),),
            low=-0.5,
            high=0.5,
        ),
        Claim(
            "earlier-is-better",
            "The earlier the stage after which the features are transformed, the higher the accuracy; "
            "the latest still beats the baseline.",
            "Table 5, Sections 3.2 and 4.3",
            tuple((f"{_COST}/{a}/si", f"{_COST}/{b}/si") for a, b in pairwise(_ORDER)),
        ),
        Claim(
            "earlier-costs-more",
            "The earlier the features are transformed, the more time and memory training takes.",
            "Table 5, Sections 3.2 and 4.3",
            tuple(
                (f"{_COST}/{a}/{kind}-overhead", f"{_COST}/{b}/{kind}-overhead")
                for kind in ("time", "memory")
                for a, b in (_ORDER[:2], _ORDER[1:3])
            ),
        ),
        Claim(
            "beta-flat",
            "The weight beta hardly matters from 0.2 to 1.0 (each within 1 point of beta = 1).",
            "Figure 4, Section 4.3",
            tuple((f"fig4/resnet110/beta-{beta}", "fig4/resnet110/beta-1.0") for beta in paper.BETAS[1:-1]),
            low=-1.0,
            high=1.0,
        ),
        Claim(
            "beta-too-low",
            "With beta = 0.1 the penultimate classifier is trained too little, and accuracy falls behind beta = 1.",
            "Figure 4, Section 4.3",
            (("fig4/resnet110/beta-1.0", "fig4/resnet110/beta-0.1"),),
        ),
        Claim(
            "masks-move-attention",
            "Training without one quadrant of the features moves the class activation map elsewhere (pictures only).",
            "Figure 1, Section 3",
        ),
        Claim(
            "decouples-object",
            "With FSFT the class activation map covers the object and less of the background (pictures only).",
            "Figures 5 and 6, Appendix A",
        ),
        Claim(
            "fewer-shortcuts",
            "FSFT makes the network rely less on shortcuts such as the background (pictures only).",
            "Figure 1, Section 3.1",
        ),
    )
}


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim with what our runs say: one difference a pair, None where a side has no exact run."""

    claim: Claim
    differences: tuple[Difference | None, ...]
    verdict: str
    runs: tuple[Result, ...]

    @property
    def held(self) -> int:
        """How many of the comparisons hold."""
        return sum(d is not None and d.within(self.claim.low, self.claim.high) is True for d in self.differences)

    @property
    def run(self) -> int:
        """How many of the comparisons have runs on both sides."""
        return sum(d is not None for d in self.differences)


def judge_claim(claim: Claim, ledger: Ledger) -> ClaimVerdict:
    """The verdict of our runs on a claim; only runs of exactly the paper's recipes count.

    A comparison holds when its 95 % interval lies inside the claim's range, fails when it lies wholly outside, and
    is open otherwise, or when one side has a single run. The interval is paired when both numbers come from the
    same networks, and Welch's otherwise.

    - "reproduced": every comparison of the claim holds;
    - "not reproduced": at least one fails;
    - "not run": none has runs on both sides, or the claim is about pictures;
    - "inconclusive": everything else.
    """
    differences = tuple(_observed_difference(pair, ledger) for pair in claim.pairs)
    found = [d.within(claim.low, claim.high) for d in differences if d is not None]
    if False in found:
        verdict = "not reproduced"
    elif not found:
        verdict = "not run"
    else:
        verdict = "reproduced" if found == [True] * len(claim.pairs) else "inconclusive"
    names = {paper.cells[key].recipe for pair in claim.pairs for key in pair if key is not None}
    runs = tuple(result for name in sorted(names) for result in exact_runs(ledger, name)) if found else ()
    return ClaimVerdict(claim, differences, verdict, runs)


def paper_word(claim: Claim) -> str:
    """Whether the paper's own numbers bear the claim out, by the same test on its printed mean ± sd (n = 4).

    "holds for the means": a spread is missing, or the interval is too wide, but every printed difference lies in
    the claim's range; "unclear": some printed numbers are missing.
    """
    if not any(paper.cells[key].mean is not None for pair in claim.pairs for key in pair if key is not None):
        return "no numbers"
    differences = [_printed_difference(pair) for pair in claim.pairs]
    known = [d for d in differences if d is not None]
    if all(d.within(claim.low, claim.high) for d in known) and len(known) == len(differences):
        return "holds"
    if any(d.within(claim.low, claim.high) is False or not claim.low < d.gain < claim.high for d in known):
        return "does not hold"
    return "holds for the means" if len(known) == len(differences) else "unclear"


def _observed_difference(pair: tuple[str, str | None], ledger: Ledger) -> Difference | None:
    a = paper.cells[pair[0]]
    ours = observed(a, ledger)
    if not ours:
        return None
    if pair[1] is None:
        return against_constant(list(ours.values()))
    b = paper.cells[pair[1]]
    others = observed(b, ledger)
    return compare(ours, others, same_runs=a.recipe == b.recipe) if others else None


def _printed_difference(pair: tuple[str, str | None]) -> Difference | None:
    a, b = (None if key is None else paper.cells[key] for key in pair)
    if a is None or a.mean is None:
        return None
    if b is None:
        return Difference(a.mean, None, None, "single", (a.n, a.n))
    if b.mean is None:
        return None
    return welch(Summary(a.mean, a.sd, a.n), Summary(b.mean, b.sd, b.n))
