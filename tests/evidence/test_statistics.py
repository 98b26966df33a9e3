import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from fsft.evidence import statistics
from fsft.evidence.statistics import (
    Difference,
    Summary,
    bootstrap_difference,
    compare,
    contrast,
    holm,
    rank_correlation,
    summarize,
    welch,
)

accuracies = st.lists(st.floats(0, 100, allow_nan=False), min_size=2, max_size=8)


@given(accuracies)
def test_the_spread_is_the_sample_standard_deviation(values: list[float]) -> None:
    summary = summarize(values)
    assert summary.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert summary.sd == pytest.approx(np.std(values, ddof=1), abs=1e-9)
    assert summary.n == len(values)


@given(accuracies, accuracies)
def test_welch_is_scipys_interval(a: list[float], b: list[float]) -> None:
    assume(np.std(a) > 0.01 and np.std(b) > 0.01)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    found = welch(summarize(a), summarize(b))
    assert found.gain == pytest.approx(np.mean(a) - np.mean(b), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=8))
def test_paired_is_scipys_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    differences = np.array([x - y for x, y in pairs])
    assume(differences.std() > 0.01)
    expected = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    found = compare((a,), ({**b, 99: 50.0},))  # a seed that only one side has does not count
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)
    assert found.n == (len(pairs), len(pairs))


def test_the_papers_own_gain_on_resnet_56() -> None:
    """From printed mean ± sd of four runs: a number to check by hand."""
    gain = welch(Summary(74.53, 0.07, 4), Summary(73.71, 0.28, 4))
    error = math.sqrt((0.07**2 + 0.28**2) / 4)
    assert gain.gain == pytest.approx(0.82)
    assert 0 < gain.low < 0.82 - 2 * error and gain.high > 0.82 + 2 * error


def test_a_difference_of_differences_adds_four_variances() -> None:
    a, b, c, d = (Summary(mean, 0.5, 3) for mean in (70.0, 60.0, 50.0, 45.0))
    found = contrast((a, d), (b, c))
    half = stats.t.ppf(0.975, 4 * 2) * (4 * 0.5**2 / 3) ** 0.5  # equal groups pool their degrees of freedom
    assert (found.gain, found.n) == (5.0, (3, 3))
    assert (found.low, found.high) == (pytest.approx(5.0 - half), pytest.approx(5.0 + half))
    assert contrast((a, Summary(45.0, None, 1)), (b, c)).low is None


def test_one_run_gives_no_interval() -> None:
    one, many = Summary(75.0, None, 1), Summary(74.0, 0.2, 4)
    for found in (
        welch(one, many),
        welch(many, one),
        compare(({0: 1.0},), ({0: 2.0},), same_runs=True),
        contrast((Summary(3.0, None, 1),)),
    ):
        assert found.low is None and found.high is None
        assert found.within(-100, 100) is None
        assert found.interval == "none: one run" or max(found.n) > 1


@pytest.mark.parametrize("sds", [(0.0, 0.0), (0.0, 1e-15)])
def test_equal_values_give_no_interval(sds: tuple[float, float]) -> None:
    """Runs that do not differ at all say nothing about how far others would."""
    found = welch(*(Summary(mean, sd, 3) for mean, sd in zip((75.0, 74.0), sds, strict=True)))
    assert (found.gain, found.low, found.high) == (1.0, None, None)
    assert found.interval == "none: no spread" and found.within(0, math.inf) is None
    assert compare(({0: 70.3, 1: 70.1},), ({0: 70.2, 1: 70.0},), same_runs=True).interval == "none: no spread"
    assert compare(({0: 1.0, 1: 2.0},), ({0: 1.0, 1: 1.0},)).low is not None


def test_within_is_inside_outside_or_undecided() -> None:
    found = Difference(0.5, 0.2, 0.8, "welch", (3, 3))
    assert found.within(0, math.inf) is True
    assert found.within(0.5, 1.0) is None
    assert found.within(1.0, 2.0) is False and found.within(-1.0, 0.1) is False


def test_seeds_are_paired_from_three_on_and_modes_of_one_network_always() -> None:
    """Networks differ by 5 points, the two sides by 0.1: only the paired interval resolves it."""
    si = {0: 70.0, 1: 75.0, 2: 80.0}
    ag = {0: 70.1, 1: 75.1, 2: 80.12}
    assert compare((ag,), (si,)).within(0, math.inf) is True
    two = [{seed: side[seed] for seed in (0, 1)} for side in (ag, si)]
    assert compare(two[:1], two[1:]).kind == "welch"
    assert compare(two[:1], two[1:], same_runs=True).kind == "paired"
    shifted = {seed + 3: value for seed, value in si.items()}
    assert compare((ag,), (shifted,)).kind == "welch"
    both = compare((ag, si), (si, si))  # a difference of differences, within the seeds of all four
    assert both.kind == "paired" and both.gain == pytest.approx(0.32 / 3)


@given(accuracies, accuracies)
def test_the_p_value_is_scipys_and_agrees_with_the_interval(a: list[float], b: list[float]) -> None:
    assume(np.std(a) > 0.01 and np.std(b) > 0.01)
    found = welch(summarize(a), summarize(b))
    p = found.p(0, math.inf)
    assert p == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-6, abs=1e-9)
    assume(abs(p - 0.05) > 1e-6)
    assert (found.within(0, math.inf) is not None) == (p < 0.05)


def test_a_range_is_judged_at_its_nearest_limit() -> None:
    gain = welch(Summary(0.4, 0.1, 3), Summary(0.0, 0.1, 3))
    assert gain.p(-0.5, 0.5) == pytest.approx(gain.p(0.3, math.inf))
    assert Difference(1.0, None, None, "welch", (1, 1)).p(0, math.inf) is None


def test_holm_lowers_the_bar_step_by_step() -> None:
    assert holm([0.04, 0.01]) == [True, True]  # 0.01 at 0.025, then 0.04 at 0.05
    assert holm([0.04, 0.03]) == [False, False]  # neither at 0.025
    assert holm([0.001, 0.02, 0.03]) == [True, True, True] and holm([0.001, 0.026, 0.001]) == [True, True, True]
    assert holm([0.001, 0.03, 0.04, 0.002]) == [True, False, False, True] and holm([]) == []


def test_ranks_and_all_their_orders() -> None:
    correlation, chance = rank_correlation([1.0, 2.0, 3.0, 4.0], [-5.0, -3.0, -1.0, 2.0])
    assert correlation == pytest.approx(1.0) and chance == pytest.approx(2 / 24)
    for sides in (([100.0] * 3, [1.0, 2.0, 3.0]), ([1.0, 2.0, 3.0], [100.0] * 3)):
        assert rank_correlation(*sides) == (0.0, 1.0)  # not p = 0, which would count as the strongest evidence


def test_nothing_to_summarize() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        summarize([])


scores = arrays.arrays(np.float64, st.tuples(st.integers(1, 3), st.just(12)), elements=st.floats(0, 1))


def test_over_images_alone_it_is_scipys_percentile_interval(monkeypatch):
    values = np.random.default_rng(1).gamma(2.0, size=300)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=2).confidence_interval
    monkeypatch.setattr(statistics, "RESAMPLES", 9999)
    found = bootstrap_difference(values, np.zeros(300))
    assert found.gain == pytest.approx(values.mean())
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


@given(scores, scores)
def test_the_difference_has_no_preferred_side(a, b):
    one, other = (
        bootstrap_difference(a, b, over_seeds=False),
        bootstrap_difference(b, a, over_seeds=False),
    )
    assert one.gain == pytest.approx(-other.gain, abs=1e-12)
    assert one.low == pytest.approx(-other.high, abs=1e-9) and one.high == pytest.approx(-other.low, abs=1e-9)
    assert one.low <= one.gain + 1e-9 or a.shape[1] < 3
    assert one.n == (len(a), len(b))


@given(scores, st.floats(-1, 1))
def test_a_shift_of_every_image_is_known_exactly(a, shift):
    """Which is the point of pairing: the images' own difficulty cancels."""
    found = bootstrap_difference(a + shift, a, over_seeds=False)
    assert (found.gain, found.low, found.high) == pytest.approx((shift,) * 3, abs=1e-9)


def test_pairing_is_worth_it_when_images_differ_more_than_methods():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=400)
    a, b = (difficulty + 0.1 * generator.normal(size=400) for _ in range(2))
    on_same_images = bootstrap_difference(a, b)
    alone = bootstrap_difference(a, np.zeros(400))
    assert on_same_images.high - on_same_images.low < 0.3 * (alone.high - alone.low)


def test_networks_that_differ_widen_the_interval_only_when_seeds_are_resampled():
    generator = np.random.default_rng(0)
    rows = generator.normal(scale=0.1, size=(3, 500)) + np.array([[0.0], [1.0], [2.0]])
    images, both = (bootstrap_difference(rows, np.zeros(500), over_seeds=seeds) for seeds in (False, True))
    assert images.gain == both.gain == pytest.approx(1, abs=0.02)
    assert images.high - images.low < 0.05
    assert both.high - both.low > 1


def test_the_interval_covers_what_it_should(monkeypatch):
    """In 200 repetitions a 95 % interval over images misses about 10 times."""
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        a, b = generator.exponential(size=(2, 80))
        hits += bootstrap_difference(a, b).within(-0.0, 0.0) is not False
    assert 178 <= hits <= 199


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([], [1.0], "finite scores"), ([np.nan, 1], [1, 1], "finite scores"), ([[1.0, 2.0]], [1.0], "same images")],
)
def test_bad_scores_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_difference(a, b)


def test_a_seed_that_one_side_lacks_does_not_decide_a_sign() -> None:
    base, other = {0: 26.0, 1: 24.0}, {0: 25.5}
    assert compare((other,), (base,)).gain == -0.5
    assert compare(({2: 25.5},), (base,)).gain == 0.5  # no seed is shared: all that there are


def test_a_single_shared_seed_throws_no_other_away() -> None:
    a, b = {0: 75.0, 1: 75.2, 2: 75.4, 3: 75.1}, {3: 74.0, 4: 74.3, 5: 74.1, 6: 74.2}
    assert compare((a,), (b,)) == welch(*(summarize(list(side.values())) for side in (a, b)))
    assert compare((a,), ({3: 74.0, 4: 74.3},)).n == (1, 1)  # too few of them to stand for themselves
