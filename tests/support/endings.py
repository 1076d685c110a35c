"""Runs that end in some way: their arguments, what they leave on disk and in MLflow, and that they resume."""

import json
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.display.run_progress import Progress
from orchestrator.runtime import session
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.record import read_records
from tests.support.command import QUICK
from tests.support.command_process import CommandProcess

QUIET = Progress(quiet=True)
EXECUTORS = ["inprocess", pytest.param("ray", marks=pytest.mark.ray)]
#: one client actor, because the number of actors changes neither the endings nor the results
ONE_ACTOR = ("runtime.actors=pooled", "runtime.pool_size=1")


def arguments(storage: Path, executor: str, *overrides: str) -> list[str]:
    """Return the arguments of `sparsefleet` for a run that a test ends."""
    changed = [
        "training.rounds=400",
        "training.eval_every=1",
        "tracking.enabled=true",
        f"runtime.executor={executor}",
        "runtime.grace_period_s=300",
        *(ONE_ACTOR if executor == "ray" else ()),
    ]
    return ["run", *QUICK, *changed, f"runtime.storage={storage}", *overrides]


def run_folder(storage: Path) -> Path:
    """Return the folder of the only run."""
    (folder,) = [path for path in storage.iterdir() if (path / "run.json").is_file()]
    return folder


def num_committed(folder: Path) -> int:
    """Return the number of checkpoints of a run."""
    return len(list((folder / "commits").glob("round-*.json")))


def wait_for_first_checkpoint(process: CommandProcess, storage: Path) -> None:
    """Wait until the run has written the checkpoint of round 0. Raises AssertionError if the command ends before."""
    process.wait_until(lambda: bool(list(storage.glob("*/commits/round-000000.json"))))


def wait_for_mlflow_run(process: CommandProcess, folder: Path) -> None:
    """Wait until the run has an MLflow run."""

    def has_run() -> bool:
        delivery = Delivery.load(folder)
        return delivery is not None and delivery.mlflow_run_id is not None

    process.wait_until(has_run)


def ray_process(process: CommandProcess, actor_class: str) -> psutil.Process:
    """Return the process of the command's only living actor of a class."""
    title = f"ray::{actor_class}"
    children = psutil.Process(process.process.pid).children(recursive=True)
    (found,) = [child for child in children if _title(child).startswith(title)]
    return found


def raylet_process(process: CommandProcess) -> psutil.Process:
    """Return the raylet of the command's own Ray."""
    children = psutil.Process(process.process.pid).children(recursive=True)
    (found,) = [child for child in children if process_name(child) == "raylet"]
    return found


def process_name(process: psutil.Process) -> str:
    """Return the name of a process; empty if it has ended."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def mlflow_status(uri: str) -> str:
    """Return the status of the only run in the MLflow store."""
    return str(_only_run(MlflowClient(uri)).info.status)


def mlflow_steps(uri: str) -> list[int]:
    """Return the steps at which the only run of the MLflow store has an accuracy, in order of delivery."""
    client = MlflowClient(uri)
    history = client.get_metric_history(_only_run(client).info.run_id, "eval/accuracy")
    return [point.step for point in history]


def _only_run(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def local_uri(storage: Path) -> str:
    """Return the address of the MLflow store that runs in this folder use by default."""
    return f"sqlite:///{storage}/mlflow.db"


def assert_finished(folder: Path, num_rounds: int) -> None:
    """Check the files of a run that has trained all its rounds."""
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["num_rounds"], summary["interrupted"]) == (num_rounds, False)
    assert (folder / "model" / "model.safetensors").is_file()


def assert_resumes(storage: Path, num_done: int) -> None:
    """Resume the run for one round more than it has, and check that its records are complete."""
    folder = run_folder(storage)
    assert [record.round_idx for record in read_records(folder / "metrics.jsonl")] == list(range(num_done))
    overrides = [f"training.rounds={num_done + 1}", "runtime.executor=inprocess"]
    summary = session.resume(folder, overrides, QUIET)
    assert (summary.interrupted, summary.num_rounds) == (False, num_done + 1)
    rounds = list(range(num_done + 1))
    assert [record.round_idx for record in read_records(folder / "metrics.jsonl")] == rounds
    assert mlflow_status(local_uri(storage)) == "FINISHED"
    assert mlflow_steps(local_uri(storage)) == rounds
