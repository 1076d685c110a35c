"""Means and intervals, against scipy's t test, which computes them independently."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.statistics import half_width, holm, p_value, spread

values = st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12)


@given(values)
def test_mean_and_interval_equal_a_t_test(sample: list[float]) -> None:
    assume(max(sample) - min(sample) > 1e-6)  # scipy warns about a loss of precision
    found = spread(sample)
    assert found.mean is not None
    assert found.half_width is not None
    interval = stats.ttest_1samp(sample, 0.0).confidence_interval(0.95)
    assert found.mean - found.half_width == pytest.approx(interval.low, abs=1e-9)
    assert found.mean + found.half_width == pytest.approx(interval.high, abs=1e-9)


def test_equal_values_have_an_interval_of_width_0() -> None:
    found = spread([0.25, 0.25, 0.25])
    assert (found.mean, found.half_width) == (0.25, 0.0)


def test_interval_equals_the_value_from_a_t_table() -> None:
    """Standard error 0.1 / sqrt(3), and t quantile 4.3027 for two degrees of freedom."""
    found = spread([0.5, 0.6, 0.7])
    assert found.mean == pytest.approx(0.6)
    assert found.half_width == pytest.approx(4.302652730 * 0.1 / 3**0.5, rel=1e-8)


def test_single_seed_has_no_interval() -> None:
    assert half_width([0.5]) is None
    found = spread([0.5])
    assert (found.mean, found.half_width, found.num_reached, found.num_seeds) == (0.5, None, 1, 1)


def test_missing_seed_gives_no_mean() -> None:
    found = spread([0.5, None, 0.7])
    assert (found.mean, found.half_width, found.num_reached, found.num_seeds) == (None, None, 2, 3)
    assert found.values == (0.5, None, 0.7)
    assert (spread([None]).mean, spread([]).mean) == (None, None)


@given(values)
def test_p_value_is_that_of_a_t_test(sample: list[float]) -> None:
    assume(max(sample) - min(sample) > 1e-6)
    shifted = [value - 0.5 for value in sample]
    assert p_value(shifted) == pytest.approx(stats.ttest_1samp(shifted, 0.0).pvalue, abs=1e-9)


def test_p_value_of_equal_values() -> None:
    assert (p_value([0.5, 0.5]), p_value([0.0, 0.0]), p_value([0.5])) == (0.0, 1.0, None)


@pytest.mark.parametrize(
    ("given_values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_multiplies_by_the_number_of_larger_p_values(
    given_values: list[float], corrected: list[float]
) -> None:
    """The first row is the example of Holm's procedure with m = 4: 4 x 0.005, 3 x 0.01, 2 x 0.03, then not below it."""
    assert holm(given_values) == pytest.approx(corrected)
