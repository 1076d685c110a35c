"""The whole comparison, against values recomputed from the log lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from orchestrator.analysis import CompareOptions, Comparison, Spread, compare, select_runs
from orchestrator.analysis.report.tables import EMPTY, main_table
from orchestrator.errors import RequestError
from tests.support.run_folders import (
    record,
    write_run,
)

CAPS, TARGETS = (250.0, 700.0), (0.3, 0.55)
TOTALS = {
    "upload": "comm/upload_bytes_total",
    "download": "comm/download_bytes_total",
    "flops": "compute/train_flops_total",
    "time": "time/emulated_s_total",
}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Three methods with three seeds: feddst is best and expensive, topk is cheap, fedavg is neither."""
    finals = {"feddst": (300.0, 0.6), "fedavg": (320.0, 0.5), "topk": (50.0, 0.4)}
    for method, (bytes_a_round, final) in finals.items():
        for seed in range(3):
            top = final + 0.01 * seed * seed
            rounds = [
                record(
                    r,
                    None if r == 1 else top * share,
                    personal=top * share + 0.1,
                    upload_bytes=(bytes_a_round + seed) * (r + 1),
                )
                for r, share in enumerate((0.5, 0.6, 0.9, 1.0))
            ]
            write_run(tmp_path / f"{method}-{seed}", method=method, seed=seed, rounds=rounds)
    return tmp_path


def _compare(storage: Path, **options: Any) -> Comparison:
    found = select_runs(storage)
    return compare(found.runs, CompareOptions(**options), found.notes)


def _logged(storage: Path, method: str) -> list[list[dict[str, float]]]:
    """Return the metrics of each round of each seed."""
    texts = [(storage / f"{method}-{seed}" / "metrics.jsonl").read_text() for seed in range(3)]
    return [[json.loads(line)["metrics"] for line in text.splitlines()] for text in texts]


def _check(found: Spread, values: list[float | None]) -> None:
    """Check values, mean and interval; None is a seed without a value."""
    assert found.values == tuple(values)
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        assert (found.mean, found.half_width) == (None, None)
        return
    assert found.mean == pytest.approx(sum(known) / len(known))
    expected = 0.0
    if len(set(known)) > 1:
        interval = stats.t.interval(0.95, len(known) - 1, loc=0.0, scale=stats.sem(known))
        expected = interval[1]
    assert found.half_width == pytest.approx(expected)


def _metrics_at_target(values: list[float], run: list[dict[str, float]], target: float) -> dict[str, float]:
    """Return the metrics of the first evaluation from which all means of three are at least `target`."""
    means = [sum(values[i : i + 3]) / 3 for i in range(len(values) - 2)]
    fits = (i for i in range(len(means)) if all(mean >= target for mean in means[i:]))
    return next((run[i] for i in fits), {})


@pytest.mark.parametrize("metric", ["accuracy", "personal_accuracy"])
def test_all_numbers_equal_values_recomputed_from_the_logs(storage: Path, metric: str) -> None:
    comparison = _compare(storage, metric=metric, baseline="fedavg", upload_caps=CAPS, targets=TARGETS)
    name = {"accuracy": "eval/accuracy", "personal_accuracy": "personal/accuracy_mean"}[metric]
    assert [row.configuration.label for row in comparison.rows] == ["feddst", "fedavg", "topk"]
    base = [[m for m in run if name in m][-1][name] for run in _logged(storage, "fedavg")]
    for row in comparison.rows:
        runs = _logged(storage, row.configuration.label)
        scored = [[m for m in run if name in m] for run in runs]
        finals = [run[-1][name] for run in scored]
        _check(row.final[metric], list(finals))  # type: ignore[index]
        for cost, total in TOTALS.items():
            _check(row.totals[cost], [run[-1][total] for run in runs])  # type: ignore[index]
        for cap, spread in zip(CAPS, row.at_caps, strict=True):
            within = [[m[name] for m in run if m[TOTALS["upload"]] <= cap] for run in scored]
            _check(spread, [values[-1] if values else None for values in within])
        for target, reached in zip(TARGETS, row.reached, strict=True):
            at_target = [_metrics_at_target([m[name] for m in run], run, target) for run in scored]
            _check(reached.emulated_s, [m.get(TOTALS["time"]) for m in at_target])
            _check(reached.upload_bytes, [m.get(TOTALS["upload"]) for m in at_target])
        if row.configuration.label == "fedavg":
            assert row.difference is None
        else:
            assert row.difference is not None
            pairs = zip(finals, base, strict=True)
            _check(row.difference.difference, [ours - theirs for ours, theirs in pairs])


def test_front_uses_the_chosen_cost(storage: Path) -> None:
    def front(cost: str) -> list[str]:
        return [row.configuration.label for row in _compare(storage, cost=cost).rows if row.on_front]

    assert front("upload") == ["feddst", "topk"]
    assert front("time") == ["feddst"]


def test_comparison_without_baseline_has_no_differences(storage: Path) -> None:
    comparison = _compare(storage)
    assert comparison.baseline is None
    assert [row.difference for row in comparison.rows] == [None] * 3


def test_caps_and_targets_are_sorted_without_duplicates(storage: Path) -> None:
    comparison = _compare(storage, upload_caps=[700, 250, 700], targets=[0.5, 0.25])
    assert (comparison.upload_caps, comparison.targets) == ((250, 700), (0.25, 0.5))


def test_default_caps_and_targets_come_from_the_runs(storage: Path) -> None:
    """topk uploads 51 bytes x 4 rounds on average, fedavg 321 x 4; feddst ends at 0.6 + 0.05 / 3."""
    comparison = _compare(storage)
    assert comparison.upload_caps == (200.0, 510.0, 1200.0)
    assert comparison.targets == (0.49, 0.55, 0.58)


def test_comparison_without_runs_is_rejected() -> None:
    with pytest.raises(RequestError) as caught:
        compare([])
    assert caught.value.field == "RUN"


def test_comparison_with_unknown_baseline_is_rejected(storage: Path) -> None:
    with pytest.raises(RequestError) as caught:
        _compare(storage, baseline="fedavgm")
    assert (caught.value.field, caught.value.value) == ("--baseline", "fedavgm")


def _with_validation(tmp_path: Path) -> Path:
    """FedAvg is best on test data and FedDST on validation data; topk has no validation accuracy."""
    for method, accuracy, validation in (("fedavg", 0.9, 0.5), ("feddst", 0.8, 0.7), ("topk", 0.7, None)):
        rounds = [record(r, accuracy, validation=validation) for r in range(3)]
        write_run(tmp_path / f"{method}-0", method=method, rounds=rounds)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, ["fedavg", "feddst", "topk"]),
        ({"order": "validation_accuracy"}, ["feddst", "fedavg", "topk"]),
        ({"metric": "validation_accuracy"}, ["feddst", "fedavg", "topk"]),
        ({"metric": "validation_accuracy", "order": "accuracy"}, ["fedavg", "feddst", "topk"]),
    ],
)
def test_rows_have_the_order_of_the_metric_or_of_another_one(
    tmp_path: Path, options: dict[str, Any], order: list[str]
) -> None:
    comparison = _compare(_with_validation(tmp_path), **options)
    assert [row.configuration.method for row in comparison.rows] == order
    assert (comparison.metric, comparison.order) == (
        options.get("metric", "accuracy"),
        options.get("order", comparison.metric),
    )
    found = {row.configuration.method: row.final["validation_accuracy"].mean for row in comparison.rows}
    assert found == {"fedavg": 0.5, "feddst": 0.7, "topk": None}


@pytest.mark.parametrize("options", [{"order": "validation_accuracy"}, {"metric": "validation_accuracy"}])
def test_table_shows_a_validation_accuracy_that_the_comparison_uses(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    storage = _with_validation(tmp_path)
    assert "validation" not in main_table(_compare(storage)).headings
    table = main_table(_compare(storage, **options))
    column = table.headings.index("validation")
    assert [row[column] for row in table.rows] == ["70.00", "50.00", EMPTY]
    assert {len(row) for row in table.rows} == {len(table.headings)}
