"""Charts: points, axes and legend entries."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison, compare
from orchestrator.analysis.report.charts import (
    MAX_NAMED,
    curve_charts,
    fairness_of,
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
    assert best.low == best.high == (), "two seeds have no interval"
    assert [(s.label, s.x, s.low) for s in (second, last)] == [
        ("topk", (4.5, 9.0), ()),
        ("fedavg", (2.0, 4.0), ()),
    ]
    assert charts["upload"].x_label == "uploaded bytes, MB"
    assert [s.x for s in charts["round"].series] == [(0, 1)] * 3
    assert charts["time"].series[0].x == (2.0, 4.0)


def test_three_seeds_have_an_interval_and_distributions_of_their_clients(tmp_path: Path) -> None:
    for seed, final in enumerate((0.7, 0.8, 0.9)):
        folder = write_run(tmp_path / f"r{seed}", seed=seed, rounds=records(0.4, final))
        scores = {"eval/client_accuracy": {"0": 0.1}, "personal/accuracy": {"0": 0.6 - seed / 10, "1": 1.0}}
        (folder / "client_scores.json").write_text(json.dumps({"round_idx": 1, "scores": scores}))
    comparison = compare(selected(tmp_path))
    (drawn,) = curve_charts(comparison)["round"].series
    # t(0.975, 2) = 4.3026527 times the standard error 0.1 / sqrt(3)
    assert drawn.low == pytest.approx((0.4, 0.8 - 4.3026527 * 0.1 / 3**0.5))
    assert drawn.high == pytest.approx((0.4, 0.8 + 4.3026527 * 0.1 / 3**0.5))
    (clients,) = fairness_of(comparison)
    assert clients.values == pytest.approx([0.4, 0.5, 0.6, 1.0, 1.0, 1.0])


def test_axes_of_bytes_and_flops_are_logarithmic(comparison: Comparison) -> None:
    charts = curve_charts(comparison)
    assert {name for name, drawn in charts.items() if drawn.log_x} == {"upload", "download", "flops"}
    assert pareto_chart(comparison).log_x


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
    many = replace(comparison, rows=comparison.rows[:1] * (MAX_NAMED + 5))
    drawn = curve_charts(many)["round"]
    assert [s.named for s in drawn.series] == [True] * MAX_NAMED + [False] * 5
    assert drawn.note == pareto_chart(many).note
    assert f"{MAX_NAMED} of {MAX_NAMED + 5}" in drawn.note
    assert curve_charts(comparison)["round"].note == ""


def test_y_axis_is_limited_to_fractions_and_named_intervals() -> None:
    wide = replace(series(), low=(-0.5, 0.4), high=(0.6, 1.5))
    low, high = chart(wide).y_range
    assert (low, high) == (0.0, pytest.approx(1.05))
    grey = replace(series(rank=MAX_NAMED), low=(-0.5, 0.4), high=(0.6, 1.5))
    assert chart(grey).y_range == pytest.approx((0.49, 0.61))
    assert chart().y_range[0] < chart().y_range[1]
