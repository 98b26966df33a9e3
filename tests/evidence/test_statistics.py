import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from fsft.evidence.statistics import Difference, Summary, against_constant, compare, contrast, paired, summarize, welch

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


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=8))
def test_paired_is_scipys_interval(pairs: list[tuple[float, float]]) -> None:
    a, b = ({seed: pair[side] for seed, pair in enumerate(pairs)} for side in (0, 1))
    differences = np.array([x - y for x, y in pairs])
    assume(differences.std() > 0.01)
    expected = stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    found = paired(a, {**b, 99: 50.0})  # a seed that only one side has does not count
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
    for found in (welch(one, many), welch(many, one), paired({0: 1.0}, {0: 2.0}), against_constant([3.0])):
        assert found.low is None and found.high is None
        assert found.within(-100, 100) is None
        assert found.interval == "none: one run" or max(found.n) > 1


def test_equal_values_give_a_point_not_a_division_by_zero() -> None:
    found = welch(Summary(75.0, 0.0, 3), Summary(74.0, 0.0, 3))
    assert (found.low, found.high) == (1.0, 1.0) and found.within(0, math.inf) is True


def test_within_is_inside_outside_or_undecided() -> None:
    found = Difference(0.5, 0.2, 0.8, "welch", (3, 3))
    assert found.within(0, math.inf) is True
    assert found.within(0.5, 1.0) is None
    assert found.within(1.0, 2.0) is False and found.within(-1.0, 0.1) is False


def test_modes_of_one_network_are_paired_and_two_recipes_are_not() -> None:
    """Networks differ by 5 points, the modes by 0.1: only the paired interval resolves it."""
    si = {0: 70.0, 1: 75.0, 2: 80.0}
    ag = {0: 70.1, 1: 75.1, 2: 80.12}
    assert compare(ag, si, same_runs=True).within(0, math.inf) is True
    assert compare(ag, si, same_runs=False).within(0, math.inf) is None


def test_nothing_to_summarize() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        summarize([])
    with pytest.raises(ValueError, match="shared seeds"):
        paired({0: 1.0}, {1: 1.0})
