"""A job ends in order at the signals with which Ray stops jobs, although its parent process ignores SIGINT."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

#: starts the entry point as a Ray process of the background does: with SIGINT ignored
LAUNCHER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-m", "orchestrator.cli.job_entry", *sys.argv[1:]])
"""


def _start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", LAUNCHER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_exit_code_and_output_are_those_of_the_command() -> None:
    process = _start("list", "nothing")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 2
    assert output.startswith("error: WHAT=nothing: ")


def test_job_with_other_source_than_was_uploaded_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """For example, because an installed package of another version replaces the uploaded one."""
    monkeypatch.setenv("SPARSEFLEET_SOURCE", "0" * 64)
    process = _start("list", "algorithms")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert output.startswith("error: ")
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_stops_the_run_after_the_round(number: signal.Signals, code: int, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    process = _start(
        *("run", f"runtime.storage={storage}", "runtime.executor=inprocess", "tracking.enabled=false"),
        *("fleet.num_clients=4", "training.clients_per_round=2", "training.rounds=100000"),
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "round 1/" in line:
            break
    process.send_signal(number)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == code, output
    assert "sparsefleet resume " in output
    assert len(list(storage.glob("fedavg-*/summary.json"))) == 1
