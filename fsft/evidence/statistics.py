"""What a handful of seeds can say: mean, spread, and the interval of a difference.

The unit of evidence is one training run, so n is a number of seeds. Spread is the sample standard deviation
(n - 1). Intervals are two-sided at 95 % and are not corrected for how many of them a table holds; words are, by `holm`.

Scores of images are arrays (S, n): one row for each trained network (a seed), one column for each image, the same
images in every row and for every method. The bootstrap of a difference draws images, and judges both methods on the
same draw. It can draw networks too, but with S seeds it knows only S of them: with two or three its interval is too
narrow, and `welch` on the networks' means, which knows what it does not know, belongs beside it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2000
SEEDS = 3  # fewer settle nothing, and are not worth pairing: two values hardly estimate a spread
NO_SPREAD = 1e-9  # points: less is rounding, and a test set of ten thousand images has steps of 0.01
_BLOCK = 100  # resamples at a time: their counts (100, n) stay small


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
    """`gain` = mean of a minus mean of b (or a rank correlation), with its interval, or None where there is none.

    There is none where a side has a single run, or where the runs do not differ at all: values that are equal by
    accident or by construction say nothing about the spread. `kind` is "paired" (differences within shared seeds),
    "welch" (independent runs of unequal spread), "bootstrap", or "rank". `n` counts the runs on each side. `freedom`
    are Student's degrees of freedom behind the interval, `chance` the p-value of a permutation test.
    """

    gain: float
    low: float | None
    high: float | None
    kind: str
    n: tuple[int, int]
    freedom: float = math.inf
    chance: float | None = None

    @property
    def interval(self) -> str:
        """For a table, such as "[+0.12, +0.95]", or why there is none."""
        if self.low is None or self.high is None:
            return f"none: {'no spread' if min(self.n) > 1 else 'one run' if max(self.n) == 1 else 'too few runs'}"
        return f"[{self.low:+.2f}, {self.high:+.2f}]"

    def exact(self) -> Difference:
        """For what is counted and not sampled, such as memory: values without a spread make a point of the interval."""
        return replace(self, low=self.gain, high=self.gain) if self.low is None and min(self.n) > 1 else self

    def within(self, low: float, high: float) -> bool | None:
        """Whether the interval lies wholly inside (True) or wholly outside (False) of the open range.

        None when it straddles a limit, or when there is no interval.
        """
        if self.low is None or self.high is None:
            return None
        if low < self.low and self.high < high:
            return True
        return False if self.high <= low or high <= self.low else None

    def p(self, low: float, high: float) -> float | None:
        """The p-value of "beyond the nearest limit of the range", on the side where the gain is; None without one."""
        if self.chance is not None or self.low is None or self.high is None:
            return self.chance
        from scipy import stats  # slow to import, and only needed here

        error = (self.high - self.low) / 2 / float(stats.t.ppf((1 + CONFIDENCE) / 2, self.freedom))
        beyond = abs(max(low - self.gain, self.gain - high))
        return 2 * float(stats.t.sf(beyond / error, self.freedom)) if error else 0.0


def holm(chances: Sequence[float]) -> list[bool]:
    """Which of several p-values are below the level that Holm's method leaves them, so that all words hold together."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    kept = [False] * len(chances)
    for rank, number in enumerate(order):
        if chances[number] > (1 - CONFIDENCE) / (len(chances) - rank):
            break
        kept[number] = True
    return kept


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's rank correlation of two sequences, and its p-value by permutation (all of them, or 9,999); 0 and 1
    where a side is constant."""
    if min(len(set(x)), len(set(y))) < 2:
        return 0.0, 1.0
    from scipy import stats  # slow to import, and only needed here

    def statistic(values: np.ndarray) -> float:
        return float(stats.spearmanr(values, y).statistic)

    found = stats.permutation_test((np.asarray(x),), statistic, permutation_type="pairings", random_state=0)
    return float(found.statistic), float(found.pvalue)


def summarize(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation; ValueError without values."""
    if not values:
        raise ValueError("a summary needs at least one value, found none: check that runs were selected")
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def welch(a: Summary, b: Summary) -> Difference:
    """Welch's interval of mean(a) - mean(b), from summaries, so that it also takes printed mean ± sd."""
    return contrast((a,), (b,))


def contrast(plus: Sequence[Summary], minus: Sequence[Summary] = (), kind: str = "welch") -> Difference:
    """Sum of the means of `plus` minus that of `minus`, with Welch's interval for any number of independent groups.

    Two on each side are a difference of differences, such as a gain that changes from one budget to another; a single
    group gives Student's interval of its mean. `n` has the smallest group of each side.
    """
    gain = math.fsum(group.mean for group in plus) - math.fsum(group.mean for group in minus)
    n = min(group.n for group in plus), min(group.n for group in minus or plus)
    known = [(group.sd**2 / group.n, group.n - 1) for group in (*plus, *minus) if group.sd is not None and group.n > 1]
    error = math.sqrt(math.fsum(variance for variance, _ in known))
    if len(known) < len(plus) + len(minus) or error < NO_SPREAD:
        return Difference(gain, None, None, kind, n)
    from scipy import stats  # slow to import, and only needed here

    freedom = error**4 / math.fsum(variance**2 / count for variance, count in known)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    return Difference(gain, gain - half, gain + half, kind, n, freedom)


def compare(
    plus: Sequence[Mapping[int, float]], minus: Sequence[Mapping[int, float]], *, same_runs: bool = False
) -> Difference:
    """The sum of the means of `plus` minus that of `minus`, of values by seed.

    A seed decides the order of the images, so that good and bad luck is common to both sides: seeds that all share
    stand for themselves, and the others are left out, unless fewer than `SEEDS` are shared and every side has as many
    alone. The interval is of paired differences where there are at least `SEEDS` shared ones, and always with
    `same_runs`, two inference modes of the same networks; otherwise Welch's.
    """
    shared = sorted(set.intersection(*(set(values) for values in (*plus, *minus))))
    if minus and len(shared) >= (1 if same_runs else SEEDS):
        signed = [math.fsum(side[seed] for side in plus) - math.fsum(side[seed] for side in minus) for seed in shared]
        return contrast((summarize(signed),), kind="paired")
    if len(shared) < SEEDS <= min(map(len, (*plus, *minus))):
        shared = []
    groups = [[summarize([values[seed] for seed in shared or values]) for values in side] for side in (plus, minus)]
    return contrast(groups[0], groups[1])


def bootstrap_difference(a: np.ndarray, b: np.ndarray, *, over_seeds: bool = True) -> Difference:
    """The mean of ``a`` minus the mean of ``b`` with its percentile interval: scores (S, n) or (n,) of the same images.

    Images are drawn once for both; networks (not without ``over_seeds``: then the interval holds for these very ones)
    for each alone, since two methods' networks share nothing but a seed. ValueError: no scores, some that are not
    finite, or different numbers of images.
    """
    sides = [np.atleast_2d(np.asarray(scores, dtype=np.float64)) for scores in (a, b)]
    for rows in sides:
        if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
            raise ValueError(f"expected finite scores (seeds, images), found shape {rows.shape}: check the scores")
    images, others = (rows.shape[1] for rows in sides)
    if images != others:
        found = f"found {images} and {others}: score both on one test set"
        raise ValueError(f"a paired difference needs scores of the same images, {found}")
    generator = np.random.default_rng(0)  # the same draws for every comparison: tables do not flicker
    drawn = []
    for begin in range(0, RESAMPLES, _BLOCK):
        count = min(_BLOCK, RESAMPLES - begin)
        weights = generator.multinomial(images, np.full(images, 1 / images), size=count) / images
        of_seeds = [weights @ rows.T for rows in sides]  # (count, S) each
        if over_seeds:
            draws = [generator.integers(means.shape[1], size=means.shape) for means in of_seeds]
            of_seeds = [
                np.take_along_axis(means, chosen, axis=1) for means, chosen in zip(of_seeds, draws, strict=True)
            ]
        drawn.append(of_seeds[0].mean(1) - of_seeds[1].mean(1))
    low, high = np.quantile(np.concatenate(drawn), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    gain = float(sides[0].mean() - sides[1].mean())
    return Difference(gain, float(low), float(high), "bootstrap", (len(sides[0]), len(sides[1])))
