"""Opening an MLflow store: without telemetry, and safely when a process is killed or several processes open it."""

import os
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.run import open_run
from tests.support.memory_store import run_info

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ..noload.. loader strategy is deprecated:DeprecationWarning:mlflow.store.tracking"
)


def test_connect_ignores_a_database_that_a_killed_process_left_unfinished(tmp_path: Path) -> None:
    """A process that is killed during MLflow's migrations leaves only files with the suffix `.unfinished`."""
    (tmp_path / "mlflow.db.unfinished").write_bytes(b"half a table")
    (tmp_path / "mlflow.db.unfinished-journal").write_bytes(b"its journal")
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.get_experiment_by_name("none") is None
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def test_connect_switches_telemetry_off_but_keeps_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    assert connect("http://tracking:5000").tracking_uri == "http://tracking:5000"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"


def test_connect_creates_the_folder_of_the_database(tmp_path: Path) -> None:
    connect(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mlflow.db"]


def test_several_processes_can_create_store_and_experiment_at_once(tmp_path: Path) -> None:
    """The test forks, because importing MLflow takes seconds. Without the lock, this test usually fails."""
    context = get_context("fork")
    uri, barrier = f"sqlite:///{tmp_path}/m.db", context.Barrier(3)
    processes = [
        context.Process(target=_connect_and_open, args=(tmp_path / name, uri, barrier)) for name in "abc"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    client = connect(uri)
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["sparsefleet.run_id"] for run in runs} == {"a", "b", "c"}


def _connect_and_open(run_dir: Path, uri: str, barrier: Barrier) -> None:
    info = run_info(run_dir, uri=uri)
    barrier.wait()
    open_run(connect(uri), info, Delivery.open(uri, "e", run_dir), 0)
