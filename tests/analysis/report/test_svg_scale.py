"""Scales and tick marks."""

import pytest

from orchestrator.analysis.report.svg_scale import Scale, log_ticks, x_scale


def test_linear_scale_maps_its_ends_and_has_round_ticks() -> None:
    scale = Scale(low=0.0, high=10.0, start=100.0, end=0.0)
    assert (scale(0.0), scale(2.5), scale(10.0)) == (100.0, 75.0, 0.0)
    assert scale.ticks() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_logarithmic_scale_maps_factors_to_equal_distances() -> None:
    scale = Scale(low=1.0, high=100.0, start=0.0, end=200.0, log=True)
    assert [scale(value) for value in (1.0, 10.0, 100.0)] == pytest.approx([0.0, 100.0, 200.0])
    assert log_ticks(1.0, 10.0) == [1.0, 2.0, 5.0, 10.0]
    assert log_ticks(1.0, 1e6) == [10.0**power for power in range(7)]


def test_zero_has_a_place_left_of_a_logarithmic_axis() -> None:
    scale = x_scale([0.0, 2.0, 8.0], 50.0, 500.0, log=True)
    assert scale.zero is not None
    assert 50.0 <= scale.zero == scale(0.0) < scale.start < scale(2.0) < scale(8.0) < 500.0
    assert x_scale([2.0, 8.0], 50.0, 500.0, log=True).zero is None


def test_scale_of_one_value_or_of_none_is_not_empty() -> None:
    for values in ([], [3.0]):
        scale = x_scale(values, 0.0, 100.0, log=False)
        assert scale.low < scale.high
        assert scale.ticks()
