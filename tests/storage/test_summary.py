"""The summary of a run from its records."""

import json
from math import inf, nan
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.record import RoundRecord

TOTALS = {
    "comm/upload_bytes_total": 3e9 + 1,
    "comm/download_bytes_total": 5.0,
    "compute/train_flops_total": 1.5e18,
    "time/emulated_s_total": 2.5,
    "time/wall_s_total": 0.25,
    "fleet/failures_total": 4.0,
}


def _of(store: RunStore, *metrics: dict[str, float], interrupted: bool = False) -> RunSummary:
    records = [RoundRecord(round_idx, 0, each) for round_idx, each in enumerate(metrics)]
    return RunSummary.of(ExperimentConfig(), store, records, "ab" * 32, interrupted)


def test_summary_takes_totals_of_the_last_round_and_last_measured_scores(tmp_path: Path) -> None:
    summary = _of(
        RunStore(tmp_path / "my-run"),
        {"eval/accuracy": 0.1, "personal/accuracy_mean": 0.2},
        {"eval/accuracy": 0.5, "personal/accuracy_mean": 0.6, "validation/accuracy": 0.7},
        {
            "validation/personal_accuracy_mean": 0.8,
            "eval/unseen_accuracy_mean": 0.4,
            "personal/unseen_accuracy_mean": 0.3,
            **TOTALS,
        },
    )
    assert summary.to_dict() == {
        "run_id": "my-run",
        "algorithm": "fedavg",
        "num_rounds": 3,
        "accuracy": 0.5,
        "personal_accuracy": 0.6,
        "upload_bytes_total": 3_000_000_001,
        "download_bytes_total": 5,
        "train_flops_total": 1.5e18,
        "emulated_s_total": 2.5,
        "wall_s_total": 0.25,
        "params_sha256": "ab" * 32,
        "num_failures": 4,
        "interrupted": False,
        "num_not_finite": 0,
        "validation_accuracy": 0.7,
        "validation_personal_accuracy": 0.8,
        "unseen_accuracy": 0.4,
        "unseen_personal_accuracy": 0.3,
        "best_round": None,
        "best_accuracy": None,
        "best_personal_accuracy": None,
        "stop_reason": None,
    }


def test_summary_has_the_scores_of_the_best_round_and_says_why_the_run_stopped(tmp_path: Path) -> None:
    scores = [(0.1, 0.2, 0, 0), (0.5, 0.6, 1, 0), (0.4, 0.7, 1, 1)]
    records = [
        RoundRecord(
            round_idx,
            0,
            {
                "eval/accuracy": accuracy,
                "personal/accuracy_mean": personal,
                "validation/best_round": best,
                "validation/num_stale": stale,
            },
        )
        for round_idx, (accuracy, personal, best, stale) in enumerate(scores)
    ]
    config = ExperimentConfig.parse({"training": {"stop": {"patience": 1}}})
    summary = RunSummary.of(config, RunStore(tmp_path / "r"), records, None, False)
    assert (summary.accuracy, summary.best_round) == (0.4, 1)
    assert (summary.best_accuracy, summary.best_personal_accuracy) == (0.5, 0.6)
    assert str(summary.stop_reason).startswith("no better validation accuracy in 1 evaluation (")
    complete = ExperimentConfig.parse({"training": {"rounds": 3, "stop": {"patience": 1}}})
    assert RunSummary.of(complete, RunStore(tmp_path / "r"), records, None, False).stop_reason is None


def test_summary_counts_rounds_with_non_finite_evaluation(tmp_path: Path) -> None:
    summary = _of(
        RunStore(tmp_path / "r"),
        {"eval/loss": 1.0, "train/loss": nan},
        {"eval/loss": nan, "eval/accuracy": 0.1},
        {"eval/loss": inf, "personal/accuracy_mean": nan},
        {"personal/accuracy_mean": nan},
        {"train/loss": 0.5},
    )
    assert summary.num_not_finite == 3


def test_summary_of_an_earlier_version_has_no_non_finite_rounds(tmp_path: Path) -> None:
    fields = _of(RunStore(tmp_path / "r"), TOTALS).to_dict()
    del fields["num_not_finite"]
    (tmp_path / "summary.json").write_text(json.dumps(fields))
    assert RunSummary.read(tmp_path / "summary.json").num_not_finite == 0


def test_each_score_is_from_the_last_round_that_measured_it(tmp_path: Path) -> None:
    summary = _of(
        RunStore(tmp_path / "r"),
        {"eval/accuracy": 0.1, "personal/accuracy_mean": 0.2},
        {"personal/accuracy_mean": 0.3},
        {"eval/accuracy": 0.5},
        TOTALS,
    )
    assert (summary.accuracy, summary.personal_accuracy) == (0.5, 0.3)


def test_run_without_rounds_has_no_accuracy(tmp_path: Path) -> None:
    summary = _of(RunStore(tmp_path / "r"), interrupted=True)
    assert (summary.num_rounds, summary.accuracy, summary.personal_accuracy) == (0, None, None)
    assert (summary.upload_bytes_total, summary.num_failures, summary.interrupted) == (0, 0, True)


def test_json_has_the_fields_in_order(tmp_path: Path) -> None:
    summary = _of(RunStore(tmp_path / "r"), TOTALS)
    found = json.loads(summary.to_json())
    assert found == summary.to_dict()
    assert list(found) == list(RunSummary.__slots__)
    assert isinstance(found["upload_bytes_total"], int)


class TestReading:
    """`RunSummary.read`."""

    @pytest.mark.parametrize("interrupted", [True, False])
    def test_written_summary_is_read_back(self, tmp_path: Path, interrupted: bool) -> None:
        summary = _of(RunStore(tmp_path / "r"), {"eval/accuracy": 0.1 + 0.2}, TOTALS, interrupted=interrupted)
        (tmp_path / "summary.json").write_text(summary.to_json())
        assert RunSummary.read(tmp_path / "summary.json") == summary

    @pytest.mark.parametrize("text", [None, "", "{", "[]", "3", "{}", '{"run_id": "r", "more": 1}'])
    def test_file_without_a_summary_is_rejected(self, tmp_path: Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "summary.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"summary\.json"):
            RunSummary.read(tmp_path / "summary.json")
