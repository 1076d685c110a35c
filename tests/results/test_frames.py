"""The tables of a run's folder as data frames."""

from pathlib import Path

import pytest

from orchestrator.results.frames import clients_frame, rounds_frame
from orchestrator.runtime.run_folder import begin_run
from tests.support.run_folders import records, write_run
from tests.support.runs import drive, prepared


def test_rounds_have_a_column_per_metric(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", rounds=records(0.25, None, 0.75))
    frame = rounds_frame(folder)
    assert frame.index.name == "round"
    assert frame["eval/accuracy"].isna().tolist() == [False, True, False]
    assert frame["comm/upload_bytes_total"].to_dict() == {0: 100.0, 1: 200.0, 2: 300.0}


def test_run_without_a_round_has_no_rows(tmp_path: Path) -> None:
    assert len(rounds_frame(write_run(tmp_path / "r", rounds=[]))) == 0


def test_clients_have_their_samples_and_their_sums(tmp_path: Path) -> None:
    """Each of the four rounds has three of six clients, and each upload is the dense float32 vector."""
    experiment = prepared()
    begin_run(experiment, tmp_path / "r")
    drive(experiment, tmp_path / "r")
    frame, rounds = clients_frame(tmp_path / "r"), rounds_frame(tmp_path / "r")
    assert frame.index.tolist() == list(range(6))
    assert frame["num_train"].tolist() == [len(part) for part in experiment.partition.train]
    assert frame["num_participations"].sum() == 12
    assert frame["upload_bytes"].sum() == rounds["comm/upload_bytes_total"].iloc[-1]
    never = frame[frame["num_participations"] == 0]
    assert (never[["upload_bytes", "train_flops"]] == 0).all().all()
    assert "start_s" not in frame, "times of day do not add up"


def test_rounds_of_a_missing_folder_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        clients_frame(tmp_path / "missing")
