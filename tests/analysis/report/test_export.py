"""CSV and JSON contain all values of the comparison, in plain units."""

import csv
import json
import math
from pathlib import Path

import pytest

from orchestrator.analysis import CompareOptions, Comparison, compare, to_csv, to_json
from tests.support.run_folders import records, selected, write_run


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """The baseline fedavg, and feddst with two learning rates; two seeds each. One seed of lr=0.01 reaches 0.6."""
    runs = tmp_path / "runs"
    for seed in range(2):
        write_run(runs / f"a{seed}", seed=seed, rounds=records(0.25, *[0.5] * 3))
        write_run(
            runs / f"b{seed}",
            "training.lr=0.5",
            method="feddst",
            seed=seed,
            rounds=records(0.25, *[0.75] * 3),
        )
        slower = records(0.25, *[0.5 + 0.25 * seed] * 3)
        write_run(runs / f"c{seed}", "training.lr=0.01", method="feddst", seed=seed, rounds=slower)
    options = CompareOptions(baseline="fedavg", upload_caps=[150.0], targets=[0.6])
    return compare(selected(runs), options, ["a note"])


def test_csv_has_a_line_per_configuration(comparison: Comparison) -> None:
    best, middle, last = csv.DictReader(to_csv(comparison).splitlines())
    assert list(best)[:8] == [
        "configuration", "method", "num_seeds", "seeds", "training.lr",
        "accuracy_mean", "accuracy_half_width", "accuracy_num_reached",
    ]  # fmt: skip
    assert [line["configuration"] for line in (best, middle, last)] == [
        "feddst lr=0.5", "feddst lr=0.01", "fedavg lr=0.05"
    ]  # fmt: skip
    expected = {
        "num_seeds": "2",
        "seeds": "0 1",
        "training.lr": "0.5",
        "accuracy_mean": "0.75",
        "accuracy_half_width": "0.0",
        "personal_accuracy_mean": "",
        "personal_accuracy_num_reached": "0",
        "upload_bytes_total_mean": "400.0",
        "train_flops_total_mean": "4000.0",
        "emulated_s_total_mean": "8.0",
        "accuracy_difference_mean": "0.25",
        "accuracy_difference_num_pairs": "2",
        "on_pareto_front": "True",
        "accuracy_by_150_upload_bytes_mean": "0.25",
        "emulated_s_to_0.6_mean": "4.0",
        "upload_bytes_to_0.6_mean": "200.0",
    }
    assert {column: best[column] for column in expected} == expected
    assert (middle["emulated_s_to_0.6_mean"], middle["emulated_s_to_0.6_num_reached"]) == ("", "1")
    assert (last["accuracy_difference_mean"], last["accuracy_difference_num_pairs"]) == ("", "")


def test_csv_without_baseline_has_no_differences(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    assert "difference" not in to_csv(compare(selected(tmp_path / "runs")))


def test_json_has_every_run_and_every_point(comparison: Comparison) -> None:
    content = json.loads(to_json(comparison))
    assert (content["metric"], content["cost"], content["baseline"]) == (
        "accuracy",
        "upload",
        "fedavg lr=0.05",
    )
    assert (content["upload_caps_bytes"], content["targets"], content["notes"]) == (
        [150.0],
        [0.6],
        ["a note"],
    )
    best, middle, last = content["configurations"]
    assert (best["label"], best["key_values"], best["seeds"]) == (
        "feddst lr=0.5",
        {"training.lr": 0.5},
        [0, 1],
    )
    assert [(run["run_id"], run["status"], run["num_rounds"]) for run in best["runs"]] == [
        ("b0", "finished", 4),
        ("b1", "finished", 4),
    ]
    assert best["accuracy"] == {"values": [0.75, 0.75], "mean": 0.75, "half_width": 0.0}
    assert best["difference"] == {"seeds": [0, 1], "values": [0.25, 0.25], "mean": 0.25, "half_width": 0.0}
    assert best["upload_bytes_total"]["mean"] == 400.0
    assert best["at_upload_caps"][0] == {
        "cap_bytes": 150.0,
        "values": [0.25, 0.25],
        "mean": 0.25,
        "half_width": 0.0,
    }
    assert middle["to_targets"][0]["emulated_s"] == {"values": [None, 4.0], "mean": None, "half_width": None}
    assert last["difference"] is None
    assert best["curve"] == [
        {
            "round_idx": r,
            "mean": mean,
            "half_width": 0.0,
            "upload_bytes": 100.0 * (r + 1),
            "download_bytes": 200.0 * (r + 1),
            "train_flops": 1000.0 * (r + 1),
            "emulated_s": 2.0 * (r + 1),
        }
        for r, mean in enumerate((0.25, 0.75, 0.75, 0.75))
    ]


def test_json_has_no_infinities_and_nan(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rounds=records(0.5, math.nan), options={"limit": math.inf})
    write_run(tmp_path / "b", rounds=records(0.5), options={"limit": 1.0})

    def reject(constant: str) -> float:
        raise AssertionError(constant)

    content = json.loads(to_json(compare(selected(tmp_path))), parse_constant=reject)
    limits = [row["key_values"]["algorithm.limit"] for row in content["configurations"]]
    assert limits == [1.0, "inf"]
    assert content["configurations"][1]["accuracy"]["values"] == [None]
