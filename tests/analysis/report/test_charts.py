"""Charts: points, axes and legend entries."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison, compare
from orchestrator.analysis.report.charts import (
    MAX_NAMED,
    Chart,
    Series,
    curve_charts,
    pareto_chart,
)
from tests.support.run_folders import picked, records, write_run


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Final accuracies and uploads: feddst 0.7 (6 MB) and 0.8 (8 MB), fedavg 0.5 (4 MB), topk 0.6 (9 MB)."""
    for seed, final in enumerate((0.7, 0.8)):
        rounds = records(0.4, final, bytes_a_round=1e6 * (3 + seed))
        write_run(tmp_path / f"feddst-{seed}", method="feddst", seed=seed, rounds=rounds)
    write_run(tmp_path / "fedavg", rounds=records(0.25, 0.5, bytes_a_round=2e6))
    write_run(tmp_path / "topk", method="topk", rounds=records(0.25, 0.6, bytes_a_round=4.5e6))
    return compare(picked(tmp_path))


def _series(rank: int = 0, x: tuple[float, ...] = (1.0, 2.0), y: tuple[float, ...] = (0.5, 0.6)) -> Series:
    return Series(label=f"m{rank}", rank=rank, x=x, y=y, low=(), high=(), rounds=tuple(range(len(x))))


def _chart(*drawn: Series, front: tuple[tuple[float, float], ...] | None = None) -> Chart:
    return Chart(
        title="t", x_label="x", y_label="y", log_x=False, series=drawn, front=front, note="some are grey"
    )


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
    found = compare(picked(tmp_path))
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
    wide = replace(_series(), low=(-0.5, 0.4), high=(0.6, 1.5))
    low, high = _chart(wide).y_range
    assert (low, high) == (0.0, pytest.approx(1.05))
    grey = replace(_series(rank=30), low=(-0.5, 0.4), high=(0.6, 1.5))
    assert _chart(grey).y_range == pytest.approx((0.49, 0.61))
    assert _chart().y_range[0] < _chart().y_range[1]
