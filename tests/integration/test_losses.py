"""How a run ends that loses a process, MLflow or its disk: exit code, files, MLflow status, and what `resume` does."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.runtime import session
from orchestrator.runtime.restart_counter import MAX_LOSSES
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
    ray_process,
    raylet_process,
    run_folder,
    wait_for_first_checkpoint,
    wait_for_mlflow_run,
)
from tests.support.mlflow_server import MlflowServer
from tests.support.small_disk import FILLING, small_disk

#: waits in the server step of round 1 until a test writes into the pipe `gate` in its folder
GATED = '''
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Gated(Algorithm[ServerState, None]):
    """FedAvg that waits in round 1."""

    def server_update(self, state, aggregate, round_idx):
        gate = Path(__file__).with_name("gate")
        if round_idx == 1 and gate.exists():
            gate.read_bytes()
        return super().server_update(state, aggregate, round_idx)
'''

#: kills its process in the server step of round 1 while its folder contains the file `die`
DYING = '''
import os
import signal
from pathlib import Path

from orchestrator.federation.algorithm import Algorithm, ServerState


class Dying(Algorithm[ServerState, None]):
    """FedAvg that kills the driver in round 1."""

    def server_update(self, state, aggregate, round_idx):
        if round_idx == 1 and Path(__file__).with_name("die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().server_update(state, aggregate, round_idx)
'''


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


class Gate:
    """A method that waits in round 1 until the test opens the gate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "gated.py").write_text(GATED)
        self.override = f"algorithm.name={folder / 'gated.py'}:Gated"
        self._pipe = folder / "gate"
        os.mkfifo(self._pipe)

    def open(self) -> None:
        """Let the run continue. Waits until it is in round 1."""
        self._pipe.write_bytes(b"")
        self.remove()

    def remove(self) -> None:
        """Let no later run wait."""
        self._pipe.unlink()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "method")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_run_is_running_in_mlflow_until_it_is_resumed(
    executor: str, storage: Path, gate: Gate
) -> None:
    process = CommandProcess(arguments(storage, executor, gate.override))
    wait_for_first_checkpoint(process, storage)
    folder = run_folder(storage)
    wait_for_mlflow_run(process, folder)
    process.kill()
    process.rest()
    assert process.process.returncode == -signal.SIGKILL
    assert not (folder / "summary.json").exists()
    assert (mlflow_status(local_uri(storage)), num_committed(folder)) == ("RUNNING", 1)
    gate.remove()
    assert_resumes(storage, 1)


@pytest.mark.ray
@pytest.mark.parametrize("actor_class", ["DriverActor", "MlflowSink"])
def test_run_that_loses_an_actor_finishes(actor_class: str, storage: Path, gate: Gate) -> None:
    rounds = "training.rounds=4"
    process = CommandProcess(arguments(storage, "ray", gate.override, rounds))
    wait_for_first_checkpoint(process, storage)
    folder = run_folder(storage)
    wait_for_mlflow_run(process, folder)
    ray_process(process, actor_class).kill()
    gate.open()
    output = process.rest(timeout_s=300)
    assert process.process.returncode == 0, output
    assert "Traceback" not in output
    assert_finished(folder, 4)
    assert mlflow_status(local_uri(storage)) == "FINISHED"
    assert mlflow_steps(local_uri(storage)) == list(range(4))
    assert_resumes(storage, 4)


@pytest.mark.ray
def test_run_whose_raylet_dies_names_it_in_one_line_and_resumes(storage: Path, gate: Gate) -> None:
    process = CommandProcess(arguments(storage, "ray", gate.override))
    wait_for_first_checkpoint(process, storage)
    folder = run_folder(storage)
    wait_for_mlflow_run(process, folder)
    raylet_process(process).kill()
    output = process.rest(timeout_s=300)
    assert process.process.returncode == 1, output
    assert "Traceback" not in output
    assert sum("raylet of this machine" in line for line in output.splitlines()) == 1
    assert f"resume {folder}" in output
    assert (folder / "failure.txt").exists()
    assert (num_committed(folder), (folder / "summary.json").exists()) == (1, False)
    gate.remove()
    assert_resumes(storage, 1)


@pytest.mark.ray
def test_run_whose_driver_dies_again_and_again_fails_until_it_is_resumed(
    storage: Path, tmp_path: Path
) -> None:
    method, flag = tmp_path / "dying.py", tmp_path / "die"
    method.write_text(DYING)
    flag.touch()
    process = CommandProcess(arguments(storage, "ray", f"algorithm.name={method}:Dying"))
    output = process.rest(timeout_s=400)
    folder = run_folder(storage)
    assert process.process.returncode == 1, output
    assert "Traceback" not in output
    assert output.count("restarting from the last checkpoint") == MAX_LOSSES
    assert (folder / "failure.txt").exists()
    assert (num_committed(folder), (folder / "summary.json").exists()) == (1, False)
    assert mlflow_status(local_uri(storage)) == "FAILED"
    flag.unlink()
    assert_resumes(storage, 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    (tmp_path / "mlflow").mkdir()
    started = MlflowServer(tmp_path / "mlflow")
    started.start()
    yield started
    started.kill()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_run_that_mlflow_leaves_names_the_missing_rounds_and_resume_delivers_them(
    executor: str, storage: Path, gate: Gate, server: MlflowServer
) -> None:
    overrides = ("training.rounds=4", f"tracking.uri={server.uri}", "tracking.flush_timeout_s=1")
    process = CommandProcess(arguments(storage, executor, gate.override, *overrides))
    wait_for_first_checkpoint(process, storage)
    folder = run_folder(storage)
    wait_for_mlflow_run(process, folder)
    server.kill()
    gate.open()
    output = process.rest(timeout_s=300)
    assert process.process.returncode == 1, output
    assert "Traceback" not in output
    assert f"resume {folder}" in output
    assert_finished(folder, 4)
    server.start()
    assert mlflow_status(server.uri) == "RUNNING"
    session.resume(folder, ["runtime.executor=inprocess"], QUIET)
    assert mlflow_status(server.uri) == "FINISHED"
    assert mlflow_steps(server.uri) == list(range(4))


@pytest.mark.parametrize("executor", EXECUTORS)
def test_run_on_a_full_disk_has_failed_in_mlflow_until_it_is_resumed(executor: str, tmp_path: Path) -> None:
    method, uri = tmp_path / "filling.py", f"sqlite:///{tmp_path / 'mlflow.db'}"
    method.write_text(FILLING)
    with small_disk(tmp_path / "disk") as disk:
        storage = disk / "runs"
        (tmp_path / "full").write_text(str(disk / "ballast"))
        overrides = ("training.rounds=5", f"algorithm.name={method}:Filling", f"tracking.uri={uri}")
        process = CommandProcess(arguments(storage, executor, *overrides))
        output = process.rest(timeout_s=300)
        folder = run_folder(storage)
        assert process.process.returncode == 1, output
        assert "Traceback" not in output
        assert "(No space left on device)" in output
        assert num_committed(folder) == 2
        assert (mlflow_status(uri), mlflow_steps(uri)) == ("FAILED", [0, 1])
        (disk / "ballast").unlink()
        (tmp_path / "full").unlink()
        summary = session.resume(folder, ["runtime.executor=inprocess"], QUIET)
        assert summary.num_rounds == 5
        assert (mlflow_status(uri), mlflow_steps(uri)) == ("FINISHED", [0, 1, 2, 3, 4])
