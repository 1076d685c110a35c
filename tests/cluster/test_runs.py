"""How runs and sweeps stand, read off folders in every state."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.runs import RunStatus, standings
from orchestrator.tracking.record import RoundRecord
from tests.support.holding import holding


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


def _one(storage: Path) -> RunStatus:
    (found,) = standings(storage)
    return found


def test_an_empty_or_missing_storage_has_none(tmp_path: Path) -> None:
    assert standings(tmp_path) == standings(tmp_path / "nowhere") == []


def test_a_finished_run(tmp_path: Path) -> None:
    _run(tmp_path / "a", 3, summary={"interrupted": False})
    one = _one(tmp_path)
    assert (one.kind, one.name, one.state, one.method) == ("run", "a", "finished", "feddst")
    assert (one.num_done, one.num_asked, one.value, one.holder) == (3, 3, 0.2, None)


def test_the_last_accuracy_may_be_some_rounds_old(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(_record(1, train__loss=2.0) + '{"a line that a kill cut short')
    one = _one(tmp_path)
    assert (one.num_done, one.value) == (2, 0.0)


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
def test_a_run_that_can_go_on(num_done: int, rounds: int, summary: Any, tmp_path: Path) -> None:
    _run(tmp_path / "a", num_done, rounds, summary)
    one = _one(tmp_path)
    assert (one.state, one.num_done, one.num_asked) == ("interrupted", num_done, rounds)


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 1)
    (folder / "failure.txt").write_text("RoundError: client 3, round 1, train: no space\nTraceback\n")
    one = _one(tmp_path)
    assert (one.state, one.why) == ("failed", "RoundError: client 3, round 1, train: no space")


def test_a_run_that_is_held_is_at_work(tmp_path: Path) -> None:
    folder = _run(tmp_path / "a", 1)
    with holding(folder) as process:
        one = _one(tmp_path)
        assert one.holder is not None
        assert (one.state, one.holder.pid) == ("running", process.pid)
    assert _one(tmp_path).state == "interrupted"


def test_a_damaged_folder_hides_no_other(tmp_path: Path) -> None:
    _run(tmp_path / "a", 3, summary={"interrupted": False})
    for name, content in (("config.yaml", "a: ["), ("metrics.jsonl", "nonsense\n"), ("summary.json", "[")):
        (_run(tmp_path / f"bad-{name}", 2) / name).write_text(content)
    states = {one.name: one.state for one in standings(tmp_path)}
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
def test_a_sweep(statuses: list[str], summary: Any, state: str, tmp_path: Path) -> None:
    _sweep(tmp_path / "s", statuses, summary)
    one = _one(tmp_path)
    assert (one.kind, one.state, one.method, one.value) == ("sweep", state, "smoke", 0.75)
    assert (one.num_done, one.num_asked) == (len(statuses), 3)
    assert one.why.startswith("1 trials failed") == (state == "failed")


def test_trials_are_not_listed(tmp_path: Path) -> None:
    _run(_sweep(tmp_path / "s", []) / "s-000", 1)
    assert [one.name for one in standings(tmp_path)] == ["s"]


def test_the_newest_come_first_and_what_is_at_work_is_always_there(tmp_path: Path) -> None:
    for number, name in enumerate("abcd"):
        folder = _run(tmp_path / name, 1)
        for file in folder.iterdir():
            os.utime(file, (1000 + number, 1000 + number))
    with holding(tmp_path / "b"):
        assert [one.name for one in standings(tmp_path)] == ["b", "d", "c", "a"]
        assert [one.name for one in standings(tmp_path, 1)] == ["b", "d"]
