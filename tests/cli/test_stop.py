"""`stop` of a run that is really at work in another process on this machine."""

import json
from pathlib import Path

import pytest

from tests.support.command import QUICK, Command
from tests.support.command_process import CommandProcess


def test_a_run_ends_after_its_round_and_can_go_on(command: Command, storage: Path) -> None:
    launched = CommandProcess(["run", *QUICK, "training.rounds=5000", f"runtime.storage={storage}"])
    try:
        launched.wait_for(": round 1/5000")
        (folder,) = storage.glob("fedavg-*")
        ended = command("stop", folder.name, "--storage", storage, "--timeout", "60")
        assert ended.code == 0, ended.err
        first, last = ended.err.splitlines()
        assert first.startswith(f"{folder.name} (")
        assert first.endswith(") ends after the round in progress")
        assert last == f"{folder.name} has ended"
        said = launched.rest(30)
    finally:
        launched.kill()
        with launched.process:  # waits, and closes the pipe
            pass
    assert launched.process.returncode == 130
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["interrupted"], summary["num_rounds"] >= 1) == (True, True)
    assert f"stopped after {summary['num_rounds']} rounds; go on with: " in said
    assert command("resume", "-q", folder, f"training.rounds={summary['num_rounds'] + 1}").code == 0


def test_a_run_that_has_ended_is_left_as_it_is(command: Command, finished: Path) -> None:
    ended = command("stop", finished)
    assert (ended.code, ended.out, ended.err) == (0, "", f"{finished.name} is not running\n")


def test_what_nobody_knows_is_one_line(
    command: Command, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    ended = command("stop", "x", "--storage", storage, "--address", "http://127.0.0.1:1")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: RUN=x: ")
    assert str(storage) in line
    assert "--address http://127.0.0.1:1: " in line
