"""What a handful of seeds can say: mean, spread, and the interval of a difference.

The unit of evidence is one training run, so n is a number of seeds. Spread is the sample standard deviation
(n - 1). Intervals are two-sided at 95 % and are not corrected for how many of them a table holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """`n` values as their mean and sample standard deviation; `sd` is None when unknown or n = 1."""

    mean: float
    sd: float | None
    n: int

    def text(self, digits: int = 2) -> str:
        """For a table, such as "74.53 ± 0.07"; without a spread only the mean."""
        spread = "" if self.sd is None else f"\u00a0±\u00a0{self.sd:.{digits}f}"  # no line break inside
        return f"{self.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Difference:
    """`gain` = mean of a minus mean of b, with its interval, or None where the runs are too few for one.

    `kind` is "paired" (differences within shared seeds), "welch" (independent runs of unequal spread), or
    "single" (the mean of one sample against a constant). `n` counts the runs on each side.
    """

    gain: float
    low: float | None
    high: float | None
    kind: str
    n: tuple[int, int]

    @property
    def interval(self) -> str:
        """For a table, such as "[0.12, 0.95]", or why there is none."""
        if self.low is None or self.high is None:
            return "none: one run" if max(self.n) == 1 else "none: too few runs"
        return f"[{self.low:+.2f}, {self.high:+.2f}]"

    def within(self, low: float, high: float) -> bool | None:
        """Whether the interval lies wholly inside (True) or wholly outside (False) of the open range.

        None when it straddles a limit, or when there is no interval.
        """
        if self.low is None or self.high is None:
            return None
        if low < self.low and self.high < high:
            return True
        return False if self.high <= low or high <= self.low else None


def summarize(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation; ValueError without values."""
    if not values:
        raise ValueError("a summary needs at least one value, found none: check that runs were selected")
    n = len(values)
    mean = math.fsum(values) / n
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1)) if n > 1 else None
    return Summary(mean, sd, n)


def welch(a: Summary, b: Summary) -> Difference:
    """Welch's interval of mean(a) - mean(b), from summaries, so that it also takes printed mean ± sd.

    Without a standard deviation on either side (n = 1, or none printed) there is no interval.
    """
    return contrast((a,), (b,))


def contrast(plus: Sequence[Summary], minus: Sequence[Summary]) -> Difference:
    """Sum of the means of `plus` minus that of `minus`, with Welch's interval for any number of independent groups.

    Two on each side are a difference of differences, such as a gain that changes from one budget to another. `n` has
    the smallest group of each side.
    """
    gain = math.fsum(group.mean for group in plus) - math.fsum(group.mean for group in minus)
    n = min(group.n for group in plus), min(group.n for group in minus)
    known = [(group.sd, group.n) for group in (*plus, *minus) if group.sd is not None and group.n > 1]
    if len(known) < len(plus) + len(minus):
        return Difference(gain, None, None, "welch", n)
    variances = [sd**2 / count for sd, count in known]
    error = math.sqrt(sum(variances))
    if error == 0:
        return Difference(gain, gain, gain, "welch", n)
    freedom = sum(variances) ** 2 / sum(v**2 / (count - 1) for v, (_, count) in zip(variances, known, strict=True))
    half = _t(freedom) * error
    return Difference(gain, gain - half, gain + half, "welch", n)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Difference:
    """The interval of the mean of a[seed] - b[seed] over the seeds that both have (Student's t).

    Raises ValueError when they share no seed.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        raise ValueError(f"a paired difference needs shared seeds, found {sorted(a)} and {sorted(b)}: use welch")
    return _around(summarize([a[seed] - b[seed] for seed in seeds]), "paired", (len(seeds), len(seeds)))


def against_constant(values: Sequence[float], constant: float = 0.0) -> Difference:
    """The interval of mean(values) - constant."""
    summary = summarize(values)
    return _around(Summary(summary.mean - constant, summary.sd, summary.n), "single", (summary.n, summary.n))


def compare(a: Mapping[int, float], b: Mapping[int, float], *, same_runs: bool) -> Difference:
    """mean(a) - mean(b) for values by seed.

    `same_runs`: both were read from the same trained networks (two inference modes), so the difference is
    paired. Two recipes with equal seeds share the order of the images, but not a network, and Welch's interval
    is the cautious one; `paired` can be reported beside it.
    """
    if same_runs and a.keys() & b.keys():
        return paired(a, b)
    return welch(summarize(list(a.values())), summarize(list(b.values())))


def _around(summary: Summary, kind: str, n: tuple[int, int]) -> Difference:
    if summary.sd is None:
        return Difference(summary.mean, None, None, kind, n)
    half = _t(summary.n - 1) * summary.sd / math.sqrt(summary.n) if summary.sd else 0.0
    return Difference(summary.mean, summary.mean - half, summary.mean + half, kind, n)


def _t(freedom: float) -> float:
    from scipy import stats  # slow to import, and only needed here

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
