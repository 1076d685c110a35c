"""The whole comparison, against values recomputed from the log lines."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from orchestrator.analysis import CompareOptions, Comparison, Spread, compare, pick_runs
from orchestrator.analysis.defaults import default_caps, default_targets
from orchestrator.errors import RequestError
from tests.support.run_folders import (
    picked,
    record,
    records,
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
    found = pick_runs(storage)
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


@pytest.mark.parametrize(
    ("totals", "caps"),
    [
        ([123_456.0, 300_000.0], (30_000.0, 61_000.0, 120_000.0)),
        ([100.0, 40_000.0, 300.0], (100.0, 2000.0, 40_000.0)),
        ([0.0, 4000.0], (1000.0, 2000.0, 4000.0)),
        ([8.0], (2.0, 4.0, 8.0)),
        ([None, 0.0], ()),
        ([], ()),
    ],
)
def test_default_caps(totals: list[float | None], caps: tuple[float, ...]) -> None:
    assert default_caps(totals) == caps


@pytest.mark.parametrize(
    ("finals", "targets"),
    [([0.5, 0.9, None], (0.72, 0.81, 0.85)), ([1.0], (0.8, 0.9, 0.95)), ([0.0105], ()), ([None], ())],
)
def test_default_targets(finals: list[float | None], targets: tuple[float, ...]) -> None:
    assert default_targets(finals) == targets


def test_notes_name_unfinished_runs_and_missing_values(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.2, 0.3), interrupted=True)
    write_run(tmp_path / "b", seed=1, rounds=records(0.2, None, 0.4), interrupted=None)
    write_run(tmp_path / "c", method="feddst", rounds=records(0.2, math.nan))
    write_run(tmp_path / "d", method="local", rounds=[record(0, None, personal=0.5)])
    found = compare(picked(tmp_path), CompareOptions(), ["given note"])
    rounds = picked(tmp_path)[0].config["training.rounds"]
    given, unfinished, not_finite, not_logged, not_on_front, no_curve = found.notes
    assert given == "given note"
    assert unfinished.endswith(
        f": a (stopped after 2 of {rounds} rounds), b (unfinished after 3 of {rounds} rounds)"
    )
    assert not_finite.startswith("c ")
    assert "not finite" in not_finite
    assert not_logged.startswith("d ")
    assert "never logged" in not_logged
    assert "Pareto front" in not_on_front
    assert not_on_front.endswith(": feddst, local")
    assert "without a curve" in no_curve
    assert no_curve.endswith(": local")
    assert [row.configuration.label for row in found.rows] == ["fedavg", "feddst", "local"]
    assert [row.on_front for row in found.rows] == [True, False, False]


def test_notes_name_duplicates_and_missing_pairs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.5, timestamp_ms=1))
    write_run(tmp_path / "b", rounds=records(0.5, timestamp_ms=2))
    write_run(tmp_path / "c", method="feddst", seed=1)
    notes = compare(picked(tmp_path), CompareOptions(baseline="feddst")).notes
    assert [note.split()[0] for note in notes] == ["a", "fedavg"]
    assert "left out" in notes[0]
    assert "shares no seed" in notes[1]


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"metric": "loss"}, "--metric", "loss"),
        ({"cost": "money"}, "--cost", "money"),
        ({"upload_caps": [0.0]}, "--at-upload", 0.0),
        ({"upload_caps": [math.inf]}, "--at-upload", math.inf),
        ({"targets": [90]}, "--to-accuracy", 90),
        ({"targets": [0.0]}, "--to-accuracy", 0.0),
        ({"targets": [math.nan]}, "--to-accuracy", math.nan),
    ],
)
def test_invalid_option_is_rejected(options: dict[str, Any], field: str, value: object) -> None:
    with pytest.raises(RequestError) as caught:
        CompareOptions(**options)
    assert (caught.value.field, str(caught.value.value)) == (field, str(value))


def test_comparison_without_runs_is_rejected() -> None:
    with pytest.raises(RequestError) as caught:
        compare([])
    assert caught.value.field == "RUN"


def test_comparison_with_unknown_baseline_is_rejected(storage: Path) -> None:
    with pytest.raises(RequestError) as caught:
        _compare(storage, baseline="fedavgm")
    assert (caught.value.field, caught.value.value) == ("--baseline", "fedavgm")
