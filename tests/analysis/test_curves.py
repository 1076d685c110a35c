"""Mean curves over seeds, also over seeds that were evaluated at different rounds."""

import math

import pytest

from orchestrator.analysis.curves import curve_of
from orchestrator.tracking.record import RoundRecord
from tests.support.run_folders import record, records

ACC = "eval/accuracy"


def test_curve_has_means_costs_and_intervals() -> None:
    short, long = records(0.2, 0.4, bytes_a_round=100.0), records(0.4, 0.8, bytes_a_round=300.0)
    first, second = curve_of([short, long], ACC)
    assert (first.round_idx, first.mean) == (0, pytest.approx(0.3))
    assert (second.round_idx, second.mean) == (1, pytest.approx(0.6))
    assert second.costs == {"upload": 400.0, "download": 400.0, "flops": 2000.0, "time": 4.0}
    # the standard error of two values is half their distance; the t quantile is 12.7062 for one degree of freedom
    assert second.half_width == pytest.approx(12.7062047 * 0.2)


def test_curve_has_only_rounds_evaluated_for_all_seeds() -> None:
    runs = [records(0.1, 0.2, None, 0.4, 0.5), records(0.1, None, 0.3, 0.6), records(0.1, 0.2, 0.3, 0.8)]
    points = curve_of(runs, ACC)
    assert [point.round_idx for point in points] == [0, 3]
    assert points[1].mean == pytest.approx(0.6)
    assert curve_of([records(0.1, None), records(None, 0.2)], ACC) == ()
    assert curve_of([], ACC) == ()


def test_curve_of_a_single_seed_has_no_intervals() -> None:
    points = curve_of([records(0.1, 0.2)], ACC)
    assert [(point.mean, point.half_width) for point in points] == [(0.1, None), (0.2, None)]


def test_non_finite_values_are_left_out() -> None:
    points = curve_of([records(0.1, math.nan, 0.3), records(0.1, 0.2, 0.3)], ACC)
    assert [point.round_idx for point in points] == [0, 2]
    (point,) = curve_of([[RoundRecord(0, 0, {ACC: 0.5, "time/emulated_s_total": math.inf})]], ACC)
    assert point.costs == {}


def test_curve_is_of_the_given_metric() -> None:
    points = curve_of([[record(0, 0.5, personal=0.75), record(1, 0.6)]], "personal/accuracy_mean")
    assert [(point.round_idx, point.mean) for point in points] == [(0, 0.75)]
