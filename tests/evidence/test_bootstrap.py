import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import stats

from fsft.evidence.bootstrap import bootstrap_difference, bootstrap_mean

scores = arrays.arrays(np.float64, st.tuples(st.integers(1, 3), st.just(12)), elements=st.floats(0, 1))
few = {"resamples": 200}


def test_over_images_alone_it_is_scipys_percentile_interval():
    values = np.random.default_rng(1).gamma(2.0, size=300)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=2).confidence_interval
    found = bootstrap_mean(values, resamples=9999)
    assert found.gain == pytest.approx(values.mean())
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05 * width)


@given(scores, scores)
def test_the_difference_has_no_preferred_side(a, b):
    one, other = (
        bootstrap_difference(a, b, over_seeds=False, **few),
        bootstrap_difference(b, a, over_seeds=False, **few),
    )
    assert one.gain == pytest.approx(-other.gain, abs=1e-12)
    assert one.low == pytest.approx(-other.high, abs=1e-9) and one.high == pytest.approx(-other.low, abs=1e-9)
    assert one.low <= one.gain + 1e-9 or a.shape[1] < 3
    assert one.n == (len(a), len(b))


@given(scores, st.floats(-1, 1))
def test_a_shift_of_every_image_is_known_exactly(a, shift):
    """Which is the point of pairing: the images' own difficulty cancels."""
    found = bootstrap_difference(a + shift, a, over_seeds=False, **few)
    assert (found.gain, found.low, found.high) == pytest.approx((shift,) * 3, abs=1e-9)


def test_pairing_is_worth_it_when_images_differ_more_than_methods():
    generator = np.random.default_rng(0)
    difficulty = generator.normal(size=400)
    a, b = (difficulty + 0.1 * generator.normal(size=400) for _ in range(2))
    paired = bootstrap_difference(a, b)
    alone = bootstrap_mean(a)
    assert paired.high - paired.low < 0.3 * (alone.high - alone.low)


def test_networks_that_differ_widen_the_interval_only_when_seeds_are_resampled():
    generator = np.random.default_rng(0)
    rows = generator.normal(scale=0.1, size=(3, 500)) + np.array([[0.0], [1.0], [2.0]])
    images, both = bootstrap_mean(rows, over_seeds=False), bootstrap_mean(rows)
    assert images.gain == both.gain == pytest.approx(1, abs=0.02)
    assert images.high - images.low < 0.05
    assert both.high - both.low > 1


def test_the_interval_covers_what_it_should():
    """In 200 repetitions a 95 % interval over images misses about 10 times."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        a, b = generator.exponential(size=(2, 80))
        hits += bootstrap_difference(a, b, resamples=300).within(-0.0, 0.0) is not False
    assert 178 <= hits <= 199


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [([], [1.0], "finite scores"), ([np.nan, 1], [1, 1], "finite scores"), ([[1.0, 2.0]], [1.0], "same images")],
)
def test_bad_scores_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_difference(a, b)
