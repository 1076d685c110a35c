"""Charts: points, axes and legend entries."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison, compare
from orchestrator.analysis.report.charts import (
    MAX_NAMED,
    curve_charts,
    pareto_chart,
)
from tests.support.comparisons import chart, comparison_of_three_methods, series
from tests.support.run_folders import records, selected, write_run


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return comparison_of_three_methods(tmp_path)


def test_curves_have_mean_costs_and_intervals(comparison: Comparison) -> None:
    charts = curve_charts(comparison)
    assert list(charts) == ["round", "upload", "download", "flops", "time"]
    best, second, last = charts["upload"].series
    assert (best.label, best.rank, best.rounds) == ("feddst", 0, (0, 1))
    assert best.x == pytest.approx((3.5, 7.0))
    assert best.y == pytest.approx((0.4, 0.75))
    assert best.low == pytest.approx((0.4, 0.75 - 12.7062047 * 0.05))
    assert best.high == pytest.approx((0.4, 0.75 + 12.7062047 * 0.05))
    assert [(s.label, s.x, s.low) for s in (second, last)] == [
        ("topk", (4.5, 9.0), ()),
        ("fedavg", (2.0, 4.0), ()),
    ]
    assert charts["upload"].x_label == "uploaded bytes, MB"
    assert [s.x for s in charts["round"].series] == [(0, 1)] * 3
    assert charts["time"].series[0].x == (2.0, 4.0)


def test_pareto_chart_has_final_points_and_front_by_ascending_cost(comparison: Comparison) -> None:
    drawn = pareto_chart(comparison)
    assert [(s.label, s.x, s.rounds) for s in drawn.series] == [
        ("feddst", (7.0,), (1,)),
        ("topk", (9.0,), (1,)),
        ("fedavg", (4.0,), (1,)),
    ]
    assert drawn.front is not None
    assert [pytest.approx(corner) for corner in drawn.front] == [(4.0, 0.5), (7.0, 0.75)]
    assert (drawn.x_label, drawn.y_label) == ("uploaded bytes, MB", "final accuracy")


def test_rows_without_mean_or_curve_are_not_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.5))
    write_run(tmp_path / "b", method="feddst", rounds=records(float("nan")))
    found = compare(selected(tmp_path))
    assert [s.label for s in curve_charts(found)["round"].series] == ["fedavg"]
    assert [s.label for s in pareto_chart(found).series] == ["fedavg"]


def test_only_the_best_configurations_are_named(comparison: Comparison) -> None:
    many = replace(comparison, rows=comparison.rows[:1] * 25)
    drawn = curve_charts(many)["round"]
    assert [s.named for s in drawn.series] == [True] * MAX_NAMED + [False] * 5
    assert drawn.note == pareto_chart(many).note
    assert "20 of 25" in drawn.note
    assert curve_charts(comparison)["round"].note == ""


def test_y_axis_is_limited_to_fractions_and_named_intervals() -> None:
    wide = replace(series(), low=(-0.5, 0.4), high=(0.6, 1.5))
    low, high = chart(wide).y_range
    assert (low, high) == (0.0, pytest.approx(1.05))
    grey = replace(series(rank=30), low=(-0.5, 0.4), high=(0.6, 1.5))
    assert chart(grey).y_range == pytest.approx((0.49, 0.61))
    assert chart().y_range[0] < chart().y_range[1]
