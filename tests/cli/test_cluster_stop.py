"""`stop` of runs on this machine, one of them in another process."""

import json
from pathlib import Path

import pytest

from tests.support.command import QUICK, Command
from tests.support.command_process import CommandProcess


def test_stop_ends_a_run_after_its_round_and_resume_continues_it(command: Command, storage: Path) -> None:
    launched = CommandProcess(["run", *QUICK, "training.rounds=5000", f"runtime.storage={storage}"])
    try:
        launched.wait_for(": round 1/5000")
        (folder,) = storage.glob("fedavg-*")
        result = command("stop", folder.name, "--storage", storage, "--timeout", "60")
        assert result.code == 0, result.err
        first, last = result.err.splitlines()
        assert first.startswith(f"{folder.name} (")
        assert last.startswith(f"{folder.name} ")
        output = launched.rest(30)
    finally:
        launched.kill()
        with launched.process:  # waits, and closes the pipe
            pass
    assert launched.process.returncode == 130
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["interrupted"], summary["num_rounds"] >= 1) == (True, True)
    assert f"sparsefleet resume {folder}" in output
    assert command("resume", "-q", folder, f"training.rounds={summary['num_rounds'] + 1}").code == 0


def test_stop_does_not_change_a_finished_run(command: Command, finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    result = command("stop", finished)
    assert (result.code, result.out) == (0, "")
    (line,) = result.err.splitlines()
    assert line.startswith(f"{finished.name} ")
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_stop_rejects_an_unknown_name(
    command: Command, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    result = command("stop", "x", "--storage", storage, "--address", "http://127.0.0.1:1")
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith("error: RUN=x: ")
    assert str(storage) in result.error_line
    assert "--address http://127.0.0.1:1" in result.error_line
