"""The status of runs and sweeps, read from folders in every state."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.runs import RunStatus, run_statuses
from orchestrator.tracking.record import RoundRecord
from tests.support.locking import locking


def _record(round_idx: int, **metrics: float) -> str:
    named = {name.replace("__", "/"): value for name, value in metrics.items()}
    return RoundRecord(round_idx, 0, named).to_line() + "\n"


def _run(folder: Path, num_done: int, rounds: int = 3, summary: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    (folder / "config.yaml").write_text(f"algorithm: {{name: feddst}}\ntraining: {{rounds: {rounds}}}\n")
    (folder / "metrics.jsonl").write_text("".join(_record(k, eval__accuracy=k / 10) for k in range(num_done)))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def _only_status(storage: Path) -> RunStatus:
    (found,) = run_statuses(storage)
    return found


def test_empty_or_missing_storage_has_no_runs(tmp_path: Path) -> None:
    assert run_statuses(tmp_path) == run_statuses(tmp_path / "nowhere") == []


def test_finished_run(tmp_path: Path) -> None:
    _run(tmp_path / "a", 3, summary={"interrupted": False})
    status = _only_status(tmp_path)
    assert (status.kind, status.name, status.state, status.method) == ("run", "a", "finished", "feddst")
    assert (status.num_done, status.num_asked, status.value, status.holder) == (3, 3, 0.2, None)


def test_run_that_stopped_early_is_finished(tmp_path: Path) -> None:
    summary = {"interrupted": False, "stop_reason": "no better validation accuracy", "num_rounds": 2}
    _run(tmp_path / "a", 2, summary=summary)
    assert _only_status(tmp_path).state == "finished"
    (tmp_path / "a" / "metrics.jsonl").write_text(_record(0))
    assert _only_status(tmp_path).state == "interrupted", "the summary is that of other rounds"


def test_last_accuracy_may_be_of_an_earlier_round(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(_record(1, train__loss=2.0) + '{"a line that a kill cut short')
    status = _only_status(tmp_path)
    assert (status.num_done, status.value) == (2, 0.0)


@pytest.mark.parametrize(
    ("num_done", "rounds", "summary"),
    [
        (2, 3, {"interrupted": True}),  # Ctrl-C
        (2, 3, None),  # kill -9
        (0, 3, None),
        (3, 6, {"interrupted": False}),  # extended, then killed
        (3, 3, None),  # killed before its summary
    ],
)
def test_run_without_a_complete_summary_is_interrupted(
    num_done: int, rounds: int, summary: Any, tmp_path: Path
) -> None:
    _run(tmp_path / "a", num_done, rounds, summary)
    status = _only_status(tmp_path)
    assert (status.state, status.num_done, status.num_asked) == ("interrupted", num_done, rounds)


def test_failed_run_has_its_error(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 1)
    (folder / "failure.txt").write_text("RoundError: client 3: no space\nTraceback\n")
    status = _only_status(tmp_path)
    assert (status.state, status.why) == ("failed", "RoundError: client 3: no space")


def test_run_with_a_locked_folder_is_running(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 1)
    with locking(folder) as process:
        status = _only_status(tmp_path)
        assert status.holder is not None
        assert (status.state, status.holder.pid) == ("running", process.pid)
    assert _only_status(tmp_path).state == "interrupted"


def test_damaged_folders_do_not_hide_others(tmp_path: Path) -> None:
    _run(tmp_path / "a", 3, summary={"interrupted": False})
    for name, content in (("config.yaml", "a: ["), ("metrics.jsonl", "nonsense\n"), ("summary.json", "[")):
        (_run(tmp_path / f"bad-{name}", 2) / name).write_text(content)
    states = {status.name: status.state for status in run_statuses(tmp_path)}
    assert states == {
        "a": "finished",
        "bad-config.yaml": "unreadable",
        "bad-metrics.jsonl": "interrupted",
        "bad-summary.json": "interrupted",
    }


def _sweep(folder: Path, statuses: list[str], summary: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"space": "smoke"}))
    (folder / "trials.jsonl").write_text("{}\n" * 3)
    lines = [json.dumps({"number": number, "status": status}) for number, status in enumerate(statuses)]
    (folder / "endings.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (folder / "metrics.jsonl").write_text(_record(0, sweep__best_accuracy=0.75, sweep__num_failed=0.0))
    if summary is not None:
        (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.mark.parametrize(
    ("statuses", "summary", "state"),
    [
        (["finished"], None, "interrupted"),
        (["finished", "stopped", "finished"], {"interrupted": False, "num_trials": 3}, "finished"),
        (["finished", "failed", "finished"], {"interrupted": False, "num_trials": 3}, "failed"),
        (["finished", "finished"], {"interrupted": True, "num_trials": 3}, "interrupted"),
    ],
)
def test_sweep_counts_its_trials(statuses: list[str], summary: Any, state: str, tmp_path: Path) -> None:
    _sweep(tmp_path / "s", statuses, summary)
    status = _only_status(tmp_path)
    assert (status.kind, status.state, status.method, status.value) == ("sweep", state, "smoke", 0.75)
    assert (status.num_done, status.num_asked) == (len(statuses), 3)
    assert status.why.startswith("1 trial failed") == (state == "failed")


def test_trials_of_a_sweep_are_not_listed(tmp_path: Path) -> None:
    _run(_sweep(tmp_path / "s", []) / "s-000", 1)
    assert [status.name for status in run_statuses(tmp_path)] == ["s"]


def test_running_and_newest_runs_come_first_and_the_limit_keeps_running_ones(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        folder = _run(tmp_path / name, 1)
        for file in folder.iterdir():
            os.utime(file, (1000 + number, 1000 + number))
    with locking(tmp_path / "b"):
        assert [status.name for status in run_statuses(tmp_path)] == ["b", "d", "c", "a"]
        assert [status.name for status in run_statuses(tmp_path, 1)] == ["b", "d"]
