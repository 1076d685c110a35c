"""The whole comparison, recomputed from the lines of the logs."""

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
    """Three methods, three seeds; feddst is best and dear, topk cheap, and fedavg neither."""
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


def compared(storage: Path, **options: Any) -> Comparison:
    found = pick_runs(storage)
    return compare(found.runs, CompareOptions(**options), found.notes)


def logged(storage: Path, method: str) -> list[list[dict[str, float]]]:
    """The metrics of each round of each seed."""
    texts = [(storage / f"{method}-{seed}" / "metrics.jsonl").read_text() for seed in range(3)]
    return [[json.loads(line)["metrics"] for line in text.splitlines()] for text in texts]


def check(found: Spread, values: list[float | None]) -> None:
    """Values, mean and interval; None for a seed without one."""
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


def reaching(values: list[float], run: list[dict[str, float]], target: float) -> dict[str, float]:
    """The metrics of the first evaluation from which on all means of three are at the target, by the definition."""
    means = [sum(values[i : i + 3]) / 3 for i in range(len(values) - 2)]
    fits = (i for i in range(len(means)) if all(mean >= target for mean in means[i:]))
    return next((run[i] for i in fits), {})


@pytest.mark.parametrize("metric", ["accuracy", "personal_accuracy"])
def test_every_number_comes_from_the_logs(storage: Path, metric: str) -> None:
    comparison = compared(storage, metric=metric, baseline="fedavg", upload_caps=CAPS, targets=TARGETS)
    name = {"accuracy": "eval/accuracy", "personal_accuracy": "personal/accuracy_mean"}[metric]
    assert [row.configuration.label for row in comparison.rows] == ["feddst", "fedavg", "topk"]
    base = [[m for m in run if name in m][-1][name] for run in logged(storage, "fedavg")]
    for row in comparison.rows:
        runs = logged(storage, row.configuration.label)
        scored = [[m for m in run if name in m] for run in runs]
        finals = [run[-1][name] for run in scored]
        check(row.final[metric], list(finals))  # type: ignore[index]
        for cost, total in TOTALS.items():
            check(row.totals[cost], [run[-1][total] for run in runs])  # type: ignore[index]
        for cap, spread in zip(CAPS, row.at_caps, strict=True):
            within = [[m[name] for m in run if m[TOTALS["upload"]] <= cap] for run in scored]
            check(spread, [values[-1] if values else None for values in within])
        for target, reached in zip(TARGETS, row.reached, strict=True):
            there = [reaching([m[name] for m in run], run, target) for run in scored]
            check(reached.emulated_s, [m.get(TOTALS["time"]) for m in there])
            check(reached.upload_bytes, [m.get(TOTALS["upload"]) for m in there])
        if row.configuration.label == "fedavg":
            assert row.difference is None
        else:
            assert row.difference is not None
            pairs = zip(finals, base, strict=True)
            check(row.difference.difference, [ours - theirs for ours, theirs in pairs])


def test_the_front_is_of_the_cost_asked_for(storage: Path) -> None:
    def front(cost: str) -> list[str]:
        return [row.configuration.label for row in compared(storage, cost=cost).rows if row.on_front]

    assert front("upload") == ["feddst", "topk"]
    assert front("time") == ["feddst"]


def test_without_a_baseline_there_are_no_differences(storage: Path) -> None:
    comparison = compared(storage)
    assert comparison.baseline is None
    assert [row.difference for row in comparison.rows] == [None] * 3


def test_caps_and_targets_are_sorted_and_not_repeated(storage: Path) -> None:
    comparison = compared(storage, upload_caps=[700, 250, 700], targets=[0.5, 0.25])
    assert (comparison.upload_caps, comparison.targets) == ((250, 700), (0.25, 0.5))


def test_defaults_come_from_the_runs(storage: Path) -> None:
    """topk uploads 51 bytes x 4 rounds on average, fedavg 321 x 4; feddst ends at 0.6 + 0.05 / 3."""
    comparison = compared(storage)
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


def test_what_to_beware_of_is_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.2, 0.3), interrupted=True)
    write_run(tmp_path / "b", seed=1, rounds=records(0.2, None, 0.4), interrupted=None)
    write_run(tmp_path / "c", method="feddst", rounds=records(0.2, math.nan))
    write_run(tmp_path / "d", method="local", rounds=[record(0, None, personal=0.5)])
    found = compare(picked(tmp_path), CompareOptions(), ["said before"])
    rounds = picked(tmp_path)[0].config["training.rounds"]
    assert found.notes == (
        "said before",
        f"compared at the last round that they have: a (stopped after 2 of {rounds} rounds), "
        f"b (unfinished after 3 of {rounds} rounds)",
        "c has no final accuracy: its last eval/accuracy is not finite",
        "d has no final accuracy: it never logged eval/accuracy",
        "not on the Pareto front, for want of accuracy and uploaded bytes of every seed: feddst, local",
        "without a curve, for want of a round that every seed was evaluated at: local",
    )
    assert [row.configuration.label for row in found.rows] == ["fedavg", "feddst", "local"]
    assert [row.on_front for row in found.rows] == [True, False, False]


def test_runs_left_out_and_pairs_not_made_are_noted(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.5, timestamp_ms=1))
    write_run(tmp_path / "b", rounds=records(0.5, timestamp_ms=2))
    write_run(tmp_path / "c", method="feddst", seed=1)
    notes = compare(picked(tmp_path), CompareOptions(baseline="feddst")).notes
    assert [note.split()[0:4] for note in notes] == [
        ["a", "is", "left", "out:"],
        ["fedavg", "shares", "no", "seed"],
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "loss"}, "--metric=loss: .*name one of accuracy, personal_accuracy"),
        ({"cost": "money"}, "--cost=money: .*name one of upload, download, flops, time"),
        ({"upload_caps": [0.0]}, "--at-upload=0.0: a cap is a positive number"),
        ({"upload_caps": [math.inf]}, "--at-upload=inf: "),
        ({"targets": [90]}, "--to-accuracy=90: a target is a share in .*write 0.9 for 90 %"),
        ({"targets": [0.0]}, "--to-accuracy=0.0: "),
        ({"targets": [math.nan]}, "--to-accuracy=nan: "),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        CompareOptions(**options)


def test_there_must_be_a_run_and_the_baseline(storage: Path) -> None:
    with pytest.raises(RequestError, match="there is nothing to compare"):
        compare([])
    with pytest.raises(RequestError, match=r"--baseline=fedavgm: .*did you mean 'fedavg'"):
        compared(storage, baseline="fedavgm")
