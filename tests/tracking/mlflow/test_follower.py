"""The follower continues where the last delivery stopped, whichever call failed."""

from pathlib import Path

import pytest

from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.follower import MlflowFollower
from orchestrator.tracking.record import RoundRecord
from tests.support.memory_store import MemoryStore, commit, points, record, run_info


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with three committed rounds."""
    commit(tmp_path / "run-1", 0, 1, 2)
    return tmp_path / "run-1"


def _follower(store: MemoryStore, run_dir: Path) -> MlflowFollower:
    client_factory: object = store.connect
    return MlflowFollower(run_info(run_dir), client_factory)  # type: ignore[arg-type]


def _saved(run_dir: Path) -> Delivery:
    delivery = Delivery.load(run_dir)
    assert delivery is not None
    return delivery


def test_open_calls_the_store_once_and_saves_the_run(store: MemoryStore, run_dir: Path) -> None:
    follower = _follower(store, run_dir)
    assert store.calls == []
    follower.open()
    num_calls = len(store.calls)
    follower.open()
    assert len(store.calls) == num_calls
    assert _saved(run_dir).mlflow_run_id == "m0"
    assert store.runs["m0"].info.start_time == record(0).timestamp_ms, "the first round began before"


def test_send_records_stops_at_the_last_committed_round(store: MemoryStore, run_dir: Path) -> None:
    follower = _follower(store, run_dir)
    follower.send_records(1)
    assert store.points["m0"] == points(0, 1)
    assert (_saved(run_dir).num_delivered, follower.progress) == (2, 2)
    follower.send_records(float("inf"))
    assert store.points["m0"] == points(0, 1, 2)


def test_another_process_continues_after_the_saved_position(store: MemoryStore, run_dir: Path) -> None:
    _follower(store, run_dir).send_records(1)
    num_calls = len(store.calls)
    _follower(store, run_dir).send_records(2)
    assert store.points["m0"] == points(0, 1, 2)
    assert store.calls[num_calls:].count("log_batch") == 1


def test_failed_call_is_repeated_and_no_record_is_lost(store: MemoryStore, run_dir: Path) -> None:
    follower = _follower(store, run_dir)
    follower.open()
    store.outage = ConnectionRefusedError()
    with pytest.raises(ConnectionRefusedError):
        follower.send_records(2)
    assert _saved(run_dir).num_delivered == 0
    store.outage = None
    follower.send_records(2)
    assert store.points["m0"] == points(0, 1, 2)


def test_position_that_cannot_be_saved_stops_no_delivery(store: MemoryStore, run_dir: Path) -> None:
    """A folder in the place of the file fails the save like a full disk."""
    follower = _follower(store, run_dir)
    follower.open()
    (run_dir / "tracking.json").unlink()
    (run_dir / "tracking.json").mkdir()
    follower.send_records(1)
    assert (store.points["m0"], follower.delivery.num_delivered) == (points(0, 1), 2)
    (problem,) = follower.problems
    assert problem.startswith(f"{run_dir / 'tracking.json'}: ")
    (run_dir / "tracking.json").rmdir()
    follower.send_records(2)
    assert (store.points["m0"], follower.problems) == (points(0, 1, 2), [])
    assert _saved(run_dir).num_delivered == 3


def test_each_call_has_at_most_a_thousand_metrics(store: MemoryStore, tmp_path: Path) -> None:
    """Rounds of 400, 400, 400 and 1,500 metrics: two rounds fit one call, and the long round needs two."""
    folder = tmp_path / "run-2"
    folder.mkdir()
    sizes = (400, 400, 400, 1500)
    rounds = [RoundRecord(r, 1000 + r, {f"x/{i}": 1.0 for i in range(n)}) for r, n in enumerate(sizes)]
    (folder / "metrics.jsonl").write_text("".join(f"{one.to_line()}\n" for one in rounds))
    follower = _follower(store, folder)
    follower.open()
    num_calls = len(store.calls)
    follower.send_records(3)
    assert store.calls[num_calls:] == ["log_batch"] * 4
    assert len(store.points["m0"]) == sum(sizes)


def test_first_artifacts_are_sent_once(store: MemoryStore, run_dir: Path) -> None:
    (run_dir / "config.yaml").write_text("seed: 0\n")
    follower = _follower(store, run_dir)
    follower.send_first_artifacts()
    assert store.artifacts["m0"] == {"config.yaml"}
    num_calls = len(store.calls)
    follower.send_first_artifacts()
    assert len(store.calls) == num_calls


def test_status_is_final_though_a_file_is_rejected(store: MemoryStore, run_dir: Path) -> None:
    follower = _follower(store, run_dir)
    follower.send_records(2)
    store.failures[len(store.calls)] = PermissionError("tags")
    with pytest.raises(PermissionError):
        follower.send_end("FAILED", {"accuracy": 0.5})
    assert (store.runs["m0"].info.status, store.runs["m0"].info.end_time) == (
        "FAILED",
        record(2).timestamp_ms,
    )
    assert not _saved(run_dir).ended
    follower.send_end("FAILED", {"accuracy": 0.5})
    assert store.runs["m0"].data.metrics["accuracy"] == 0.5
    assert _saved(run_dir).ended
