"""How signals end a run: exit code, files, status in MLflow, and what `resume` does. docs/faults.md has the table."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orchestrator.runtime import session
from tests.support.command_process import CommandProcess
from tests.support.endings import (
    EXECUTORS,
    QUIET,
    arguments,
    assert_finished,
    assert_resumes,
    local_uri,
    mlflow_status,
    mlflow_steps,
    num_committed,
    run_folder,
    wait_for_first_checkpoint,
    wait_for_mlflow_run,
)
from tests.support.hanging_mlflow import hanging_mlflow

#: the statuses in MLflow of a run that ends at once: MLflow has two seconds to answer
STOPPED_AT_ONCE = ("KILLED", "RUNNING")
#: never ends the server step of round 1 while its folder contains the file `hang`
HANGING = '''
import threading
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Hanging(Algorithm[ServerState, None]):
    """FedAvg that hangs in round 1."""

    def server_update(self, state, aggregate, round_idx):
        if round_idx == 1 and Path(__file__).with_name("hang").exists():
            threading.Event().wait()
        return super().server_update(state, aggregate, round_idx)
'''


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def assert_ended_in_order(process: CommandProcess, code: int, storage: Path) -> None:
    """Check a run that finished the round in progress."""
    output = process.rest(timeout_s=300)
    assert process.process.returncode == code, output
    assert "Traceback" not in output
    assert "SIGTERM received" not in output, "Ray printed a stack trace"
    assert f"resume {run_folder(storage)}" in output
    assert_is_interrupted(storage)


def assert_is_interrupted(storage: Path) -> None:
    """Check the files of a run that finished the round in progress, its MLflow run, and that it resumes."""
    folder = run_folder(storage)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert 0 < summary["num_rounds"] < 400
    assert mlflow_status(local_uri(storage)) == "KILLED"
    assert json.loads((folder / "tracking.json").read_text())["num_delivered"] == summary["num_rounds"]
    assert_resumes(storage, summary["num_rounds"])


def test_finished_run_is_complete_and_resume_adds_rounds(storage: Path) -> None:
    """`test_losses.py` and `test_tracked_run.py` check the same on Ray."""
    process = CommandProcess(arguments(storage, "inprocess", "training.rounds=2"))
    output = process.rest(timeout_s=300)
    assert process.process.returncode == 0, output
    folder = run_folder(storage)
    assert_finished(folder, 2)
    assert (mlflow_status(local_uri(storage)), mlflow_steps(local_uri(storage))) == ("FINISHED", [0, 1])
    assert_resumes(storage, 2)
    assert_finished(folder, 3)


@pytest.mark.parametrize(
    ("executor", "number", "code"),
    [
        ("inprocess", signal.SIGINT, 130),
        ("inprocess", signal.SIGTERM, 143),
        ("inprocess", signal.SIGHUP, 129),
        pytest.param("ray", signal.SIGINT, 130, marks=pytest.mark.ray),
        pytest.param("ray", signal.SIGTERM, 143, marks=pytest.mark.ray),
    ],
)
def test_signal_to_all_processes_ends_the_run_after_the_round(
    executor: str, number: signal.Signals, code: int, storage: Path
) -> None:
    """A closed terminal sends SIGHUP on Ray, too."""
    process = CommandProcess(arguments(storage, executor))
    process.wait_for("round 1/")
    process.signal_all(number)
    assert_ended_in_order(process, code, storage)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_closed_terminal_ends_the_run_after_the_round(executor: str, storage: Path) -> None:
    controller, terminal = os.openpty()
    command = ["setsid", "--ctty", sys.executable, "-m", "orchestrator.cli", *arguments(storage, executor)]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        while not list(storage.glob("*/commits/round-000000.json")):
            assert os.read(controller, 4096)  # the progress bar writes several times a second
        os.close(controller)
        assert process.wait(300) == 129
    assert_is_interrupted(storage)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_first_process_of_a_container_ends_at_sigterm(executor: str, storage: Path) -> None:
    """Linux gives the first process of a PID namespace no default action for SIGTERM."""
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not make a PID namespace")
    process = CommandProcess(arguments(storage, executor), wrapper)
    process.wait_for("round 1/")
    (first,) = psutil.Process(process.process.pid).children()
    first.send_signal(signal.SIGTERM)
    assert_ended_in_order(process, 143, storage)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_second_interrupt_ends_the_run_at_once(executor: str, storage: Path, tmp_path: Path) -> None:
    method = tmp_path / "hanging.py"
    method.write_text(HANGING)
    (tmp_path / "hang").touch()
    process = CommandProcess(arguments(storage, executor, f"algorithm.name={method}:Hanging"))
    wait_for_first_checkpoint(process, storage)
    wait_for_mlflow_run(process, run_folder(storage))
    process.interrupt()
    process.wait_for("stopping after this round")
    process.interrupt()
    output = process.rest(timeout_s=300)
    assert process.process.returncode == 130, output
    assert "Traceback" not in output
    folder = run_folder(storage)
    assert not (folder / "summary.json").exists()
    assert num_committed(folder) == 1
    assert mlflow_status(local_uri(storage)) in STOPPED_AT_ONCE
    (tmp_path / "hang").unlink()
    assert_resumes(storage, 1)


@pytest.mark.parametrize(
    ("executor", "number", "code"),
    [
        ("inprocess", signal.SIGTERM, 143),
        ("inprocess", signal.SIGHUP, 129),
        pytest.param("ray", signal.SIGTERM, 143, marks=pytest.mark.ray),
    ],
)
def test_end_of_the_grace_period_keeps_the_last_checkpoint(
    executor: str, number: signal.Signals, code: int, storage: Path, tmp_path: Path
) -> None:
    method = tmp_path / "hanging.py"
    method.write_text(HANGING)
    (tmp_path / "hang").touch()
    overrides = [f"algorithm.name={method}:Hanging", "runtime.grace_period_s=0.5"]
    process = CommandProcess(arguments(storage, executor, *overrides))
    wait_for_first_checkpoint(process, storage)
    wait_for_mlflow_run(process, run_folder(storage))
    os.kill(process.process.pid, number)
    output = process.rest(timeout_s=300)
    assert process.process.returncode == code, output
    assert not (run_folder(storage) / "summary.json").exists()
    assert num_committed(run_folder(storage)) == 1
    assert mlflow_status(local_uri(storage)) in STOPPED_AT_ONCE
    (tmp_path / "hang").unlink()
    assert_resumes(storage, 1)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_second_interrupt_ends_a_run_that_waits_for_mlflow(executor: str, storage: Path) -> None:
    with hanging_mlflow() as uri:
        process = CommandProcess(
            arguments(storage, executor, f"tracking.uri={uri}", "tracking.flush_timeout_s=3600")
        )
        process.wait_for("round 1/")
        process.interrupt()
        process.wait_for("writing to MLflow")
        process.interrupt()
        output = process.rest(timeout_s=120)
    assert process.process.returncode == 130, output
    folder = run_folder(storage)
    assert json.loads((folder / "summary.json").read_text())["interrupted"] is True
    uri, num_rounds = local_uri(storage), num_committed(folder)
    changes = [f"training.rounds={num_rounds + 1}", f"tracking.uri={uri}", "runtime.executor=inprocess"]
    assert session.resume(folder, changes, QUIET).num_rounds == num_rounds + 1
    assert (mlflow_status(uri), mlflow_steps(uri)) == ("FINISHED", list(range(num_rounds + 1)))
