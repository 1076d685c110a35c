"""Means and intervals, against scipy's t test, which computes them independently."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.analysis.statistics import half_width, spread

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
