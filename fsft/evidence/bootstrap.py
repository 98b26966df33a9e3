"""Bootstrap intervals of a mean score over images, and over seeds and images.

Scores are arrays (S, n): one row for each trained network (a seed), one column for each image. The images are the same
in every row and for every method, so a difference between two methods is *paired*: a resample draws images, and both
methods are judged on the same draw. Resampling seeds as well answers for other networks than these. With S seeds it
knows only S networks of each kind: with two or three its interval is too narrow, and ``fsft.evidence.statistics.welch``
on the seeds' means, which knows what it does not know, belongs beside it.

Intervals are percentile intervals, two-sided, with the confidence of ``fsft.evidence.statistics``.
"""

from __future__ import annotations

import numpy as np

from fsft.evidence.statistics import CONFIDENCE, Difference

RESAMPLES = 2000
_BLOCK = 100  # resamples at a time: their counts (100, n) stay small


def bootstrap_mean(scores: np.ndarray, *, over_seeds: bool = True, resamples: int = RESAMPLES) -> Difference:
    """The mean of scores (S, n) or (n,) with its interval, as a difference from zero.

    Args:
        scores: finite numbers, a row for each network.
        over_seeds: resample the networks too; without it the interval holds for these very networks.
        resamples: how often to draw.

    Raises:
        ValueError: no scores, or some that are not finite.
    """
    rows = _rows(scores)
    return _interval(rows.mean(), _resampled(rows, over_seeds, resamples)[0], (len(rows), len(rows)))


def bootstrap_difference(
    a: np.ndarray, b: np.ndarray, *, over_seeds: bool = True, resamples: int = RESAMPLES
) -> Difference:
    """The mean of ``a`` minus the mean of ``b`` with its interval: scores (S, n) or (n,) of the same n images.

    Images are drawn once for both, networks for each alone, since two methods' networks share nothing but a seed.

    Args:
        a, b: finite numbers; the two may have different numbers of rows.
        over_seeds: resample the networks too; without it the interval holds for these very networks.
        resamples: how often to draw.

    Raises:
        ValueError: no scores, some that are not finite, or different numbers of images.
    """
    first, second = _rows(a), _rows(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"a paired difference needs scores of the same images, found {first.shape[1]} and {second.shape[1]}: "
            "score both on one test set"
        )
    drawn = _resampled(first, over_seeds, resamples, second)
    return _interval(first.mean() - second.mean(), drawn[0] - drawn[1], (len(first), len(second)))


def _rows(scores: np.ndarray) -> np.ndarray:
    rows = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if rows.ndim != 2 or rows.size == 0 or not np.isfinite(rows).all():
        raise ValueError(f"expected finite scores (seeds, images), found shape {rows.shape}: check the scores")
    return rows


def _resampled(
    first: np.ndarray, over_seeds: bool, resamples: int, second: np.ndarray | None = None
) -> list[np.ndarray]:
    """The means (resamples,) of each array under the same draws of images."""
    sides = [first] if second is None else [first, second]
    generator = np.random.default_rng(0)  # the same draws for every comparison: tables do not flicker
    images = first.shape[1]
    even = np.full(images, 1 / images)
    means: list[list[np.ndarray]] = [[] for _ in sides]
    for begin in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - begin)
        weights = generator.multinomial(images, even, size=count) / images
        for collected, rows in zip(means, sides, strict=True):
            of_seeds = weights @ rows.T  # (count, S)
            if over_seeds:
                chosen = generator.integers(len(rows), size=of_seeds.shape)
                of_seeds = np.take_along_axis(of_seeds, chosen, axis=1)
            collected.append(of_seeds.mean(1))
    return [np.concatenate(collected) for collected in means]


def _interval(value: float, drawn: np.ndarray, n: tuple[int, int]) -> Difference:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Difference(float(value), float(low), float(high), "bootstrap", n)
