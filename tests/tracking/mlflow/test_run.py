"""The MLflow run of a Sparsefleet run: created once, found again, and never with a param that MLflow rejects."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.note import DIGEST_TAG, NOTE_TAG
from orchestrator.tracking.mlflow.run import MAX_PARAM_LENGTH, open_run
from orchestrator.tracking.presentation.run_page import digest
from orchestrator.tracking.record import RunInfo
from tests.support.memory_store import MemoryStore, run_info

START_MS = 1_700_000_000_000


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def info(tmp_path: Path) -> RunInfo:
    return run_info(tmp_path / "run-1")


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    return Delivery.open("http://tracking:5000", "e", tmp_path)


def _open(store: MemoryStore, info: RunInfo, delivery: Delivery) -> tuple[str, bool]:
    client: object = store
    opened = open_run(client, info, delivery, START_MS)  # type: ignore[arg-type]
    assert opened.experiment_id == info.experiment
    return opened.mlflow_run_id, opened.is_saved


def test_first_open_creates_the_run(store: MemoryStore, info: RunInfo, delivery: Delivery) -> None:
    assert _open(store, info, delivery) == ("m0", False)
    run = store.runs["m0"]
    assert (run.info.start_time, run.name, run.experiment_id) == (START_MS, "a run", "e")
    assert run.data.params == {"seed": "0", "training.rounds": "3"}
    assert run.tags == {
        "method": "fedavg",
        "sparsefleet.run_id": "run-1",
        "sparsefleet.delivery_id": delivery.delivery_id,
        NOTE_TAG: run.tags[NOTE_TAG],
        DIGEST_TAG: digest(run.tags[NOTE_TAG]),
    }


def test_saved_run_is_reopened(store: MemoryStore, info: RunInfo, delivery: Delivery) -> None:
    _open(store, info, delivery)
    store.runs["m0"].info.status = "FINISHED"
    assert _open(store, info, replace(delivery, mlflow_run_id="m0")) == ("m0", True)
    assert store.runs["m0"].info.status == "RUNNING"
    assert len(store.runs) == 1


def test_run_whose_id_was_not_saved_is_found_by_its_tag(
    store: MemoryStore, info: RunInfo, delivery: Delivery
) -> None:
    """The process died after MLflow created the run and before the process saved the id."""
    _open(store, info, delivery)
    assert _open(store, info, delivery) == ("m0", False)
    assert len(store.runs) == 1


def test_deleted_run_is_replaced(store: MemoryStore, info: RunInfo, delivery: Delivery) -> None:
    _open(store, info, delivery)
    store.runs["m0"].info.lifecycle_stage = "deleted"
    assert _open(store, info, replace(delivery, mlflow_run_id="m0")) == ("m1", False)


def test_changed_param_becomes_a_tag(store: MemoryStore, info: RunInfo, delivery: Delivery) -> None:
    _open(store, info, delivery)
    longer = replace(info, params={"seed": "0", "training.rounds": "9", "runtime.pool_size": "2"})
    _open(store, longer, delivery)
    run = store.runs["m0"]
    assert run.data.params == {"seed": "0", "training.rounds": "3", "runtime.pool_size": "2"}
    assert run.tags["sparsefleet.resumed.training.rounds"] == "9"
    assert "sparsefleet.resumed.seed" not in run.tags


def test_long_param_is_cut(store: MemoryStore, info: RunInfo, delivery: Delivery) -> None:
    _open(store, replace(info, params={"note": "x" * (MAX_PARAM_LENGTH + 1)}), delivery)
    assert store.runs["m0"].data.params == {"note": "x" * MAX_PARAM_LENGTH}
