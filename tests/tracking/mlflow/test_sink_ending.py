"""The end of a sink that shares its process with other sinks: `end` does not wait, `close_within` has a limit."""

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.tracker import TrackingOutcome
from tests.support.memory_store import (
    Clock,
    MemoryStore,
    commit,
    points,
    record,
    run_info,
    sink_on,
)

OUTAGE = ConnectionRefusedError(111, "Connection refused")


def _started(store: MemoryStore, clock: Clock, run_dir: Path, *round_idxs: int) -> MlflowSink:
    sink = sink_on(store, clock)
    sink.start(run_info(run_dir))
    for round_idx in round_idxs:
        sink.log(commit(run_dir, round_idx))
    return sink


def test_end_delivers_everything_at_once(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir, 0)
    commit(run_dir, 1)
    sink.end("KILLED", {"accuracy": 0.5})
    assert sink.outcome() == TrackingOutcome("m0", 2, None)
    assert store.points["m0"] == [*points(0, 1), ("accuracy", 1, record(1).timestamp_ms, 0.5)]
    assert store.runs["m0"].info.status == "KILLED"
    delivery = Delivery.load(run_dir)
    assert delivery is not None
    assert delivery.ended


def test_end_does_not_wait_during_an_outage(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir, 0)
    store.outage = OUTAGE
    commit(run_dir, 1)
    sink.end("FINISHED", {})
    assert clock.waits_s == []
    outcome = sink.outcome()
    assert (outcome.mlflow_run_id, outcome.num_logged) == ("m0", 1)
    assert "1 of 2 rounds" in str(outcome.problem)
    delivery = Delivery.load(run_dir)
    assert delivery is not None
    assert not delivery.ended


def test_close_delivers_what_end_could_not(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir, 0)
    store.outage = OUTAGE
    sink.end("FINISHED", {"accuracy": 0.5})
    store.outage = None
    assert sink.close() == TrackingOutcome("m0", 1, None)
    assert store.runs["m0"].info.status == "FINISHED"
    assert store.artifacts["m0"] == {"summary.json", "metrics.jsonl", "curves.png"}


def test_end_respects_the_wait_between_attempts(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir)
    store.outage = OUTAGE
    sink.log(commit(run_dir, 0))
    num_calls = len(store.calls)
    store.outage = None
    sink.end("FINISHED", {})
    assert len(store.calls) == num_calls, "half a second has not passed"
    assert sink.outcome().problem is not None
    assert sink.close_within(0.0) == (TrackingOutcome("m0", 1, None), 0.0)


@pytest.mark.parametrize("patience_s", [0.0, 0.25, 3.0])
def test_close_within_waits_for_its_limit_and_returns_the_time(tmp_path: Path, patience_s: float) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.outage = OUTAGE
    sink.end("FINISHED", {})
    outcome, waited_s = sink.close_within(patience_s)
    assert "ConnectionRefusedError" in str(outcome.problem)
    assert waited_s == sum(clock.waits_s) == pytest.approx(patience_s)


def test_close_within_does_not_wait_for_a_reachable_store(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    sink.end("FINISHED", {})
    assert sink.close_within(10.0) == (TrackingOutcome("m0", 1, None), 0.0)
    assert clock.waits_s == []


def test_close_within_counts_a_wait_that_succeeded(tmp_path: Path) -> None:
    """The returned time includes the outage, also when the store recovers."""
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.outage = OUTAGE
    sink.end("FINISHED", {})
    clock.at[3.0] = lambda: setattr(store, "outage", None)
    outcome, waited_s = sink.close_within(10.0)
    assert outcome == TrackingOutcome("m0", 1, None)
    assert waited_s == sum(clock.waits_s) >= 3.0


def test_close_within_does_not_wait_when_the_store_rejects_the_request(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.outage = MlflowException("no such permission", PERMISSION_DENIED)
    sink.end("FINISHED", {})
    outcome, waited_s = sink.close_within(10.0)
    assert "no such permission" in str(outcome.problem)
    assert (waited_s, clock.waits_s) == (0.0, [])


def test_close_within_does_not_retry_after_finish_has_given_up(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.outage = OUTAGE
    sink.finish("FINISHED", {})
    num_waits = len(clock.waits_s)
    sink.close_within(10.0)
    assert len(clock.waits_s) == num_waits


def test_outcome_is_available_at_any_time(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    assert sink_on(store, clock).outcome() == TrackingOutcome(None, 0, None)
    store.outage = OUTAGE
    sink = _started(store, clock, run_dir)
    assert sink.outcome().mlflow_run_id is None
    assert "0 of 0 rounds" in str(sink.outcome().problem)
    store.outage = None
    clock.sleep(1.0)
    sink.log(commit(run_dir, 0))
    assert sink.outcome() == TrackingOutcome("m0", 1, None)


def test_close_within_without_start_takes_no_time() -> None:
    assert MlflowSink().close_within(5.0) == (TrackingOutcome(None, 0, None), 0.0)


def test_resumed_run_is_not_ended(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    _started(store, clock, run_dir, 0).end("FINISHED", {})
    sink = _started(store, clock, run_dir)
    delivery = Delivery.load(run_dir)
    assert delivery is not None
    assert (delivery.ended, delivery.num_delivered) == (False, 1)
    sink.log(record(0))
    sink.end("FINISHED", {})
    delivery = Delivery.load(run_dir)
    assert delivery is not None
    assert delivery.ended
    assert store.points == {"m0": points(0)}
