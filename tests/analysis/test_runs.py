"""Runs read from their folders: new and old, complete and damaged."""

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.analysis.runs import mlflow_run_id, read_head, with_records
from orchestrator.errors import CheckpointError
from tests.support.run_folders import records, write_run, write_sweep


def test_older_run_gets_name_and_tags_from_folder_and_config(tmp_path: Path) -> None:
    run = read_head(write_run(tmp_path / "run-1", "fleet.name=five-tier", method="feddst", seed=7))
    assert (run.run_id, run.name, run.sweep, run.superseded_by) == ("run-1", "run-1", None, None)
    assert run.tags == {"method": "feddst", "fleet": "five-tier", "data": "digits", "seed": "7"}
    assert (run.method, run.seed) == ("feddst", 7)


def test_run_json_takes_precedence_over_the_config(tmp_path: Path) -> None:
    about = {"name": "the best", "tags": {"method": "my method", "trial": "3"}, "superseded_by": "run-2"}
    write_sweep(tmp_path / "sweep-1")
    run = read_head(write_run(tmp_path / "sweep-1" / "run-1", about=about))
    assert (run.name, run.sweep, run.superseded_by) == ("the best", "sweep-1", "run-2")
    assert run.tags == {
        "method": "my method",
        "trial": "3",
        "fleet": "uniform",
        "data": "digits",
        "seed": "0",
    }


def test_missing_keys_have_today_s_defaults(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run-1", "training.lr=0.5", options={"alpha": 0.25})
    tree = yaml.safe_load((folder / "config.yaml").read_text())
    del tree["wire"]
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    config = read_head(folder).config
    assert config["wire.value_dtype"] == "float32"
    assert (config["training.lr"], config["algorithm.alpha"]) == (0.5, 0.25)
    assert "training" not in config


def test_status_comes_from_the_summary_of_all_rounds(tmp_path: Path) -> None:
    def status(name: str, interrupted: bool | None, num_more: int = 0) -> str:
        folder = write_run(tmp_path / name, rounds=records(0.1, 0.2), interrupted=interrupted)
        with (folder / "metrics.jsonl").open("a") as file:
            for record in records(0.1, 0.2, *[0.3] * num_more)[2:]:
                file.write(f"{record.to_line()}\n")
                (folder / "commits" / f"round-{record.round_idx:06d}.json").touch()
        return with_records(read_head(folder)).status

    assert status("a", False) == "finished"
    assert status("b", True) == "stopped"
    assert status("c", None) == "unfinished"
    assert status("d", False, num_more=1) == "unfinished"


def test_records_are_the_committed_records_of_the_log(tmp_path: Path) -> None:
    rounds = records(0.1, None, 0.3)
    folder = write_run(tmp_path / "run-1", rounds=rounds)
    assert read_head(folder).records == ()
    assert list(with_records(read_head(folder)).records) == rounds
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(f"{records(0.1, None, 0.3, 0.9)[3].to_line()}\n")
    assert list(with_records(read_head(folder)).records) == rounds, (
        "a record without a checkpoint does not count"
    )


@pytest.mark.parametrize(
    ("name", "content"), [("run.json", "{"), ("run.json", "[]"), ("config.yaml", "a: ["), ("config.yaml", "")]
)
def test_error_names_the_damaged_file(tmp_path: Path, name: str, content: str) -> None:
    folder = write_run(tmp_path / "run-1")
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"run-1/{name}"):
        read_head(folder)


def test_mlflow_run_id_comes_from_tracking_json(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run-1")
    assert mlflow_run_id(folder) is None
    for content, expected in (({"mlflow_run_id": "abc"}, "abc"), ({"mlflow_run_id": None}, None), ([], None)):
        (folder / "tracking.json").write_text(json.dumps(content))
        assert mlflow_run_id(folder) == expected
