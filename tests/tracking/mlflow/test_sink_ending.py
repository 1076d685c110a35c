"""How a sink ends where many share one process: without waiting first, then with what patience is left."""

from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.tracker import TrackingOutcome
from tests.tracking.mlflow.test_sink import (
    Clock,
    MemoryStore,
    about,
    commit,
    points,
    record,
    sink_on,
)

AWAY = ConnectionRefusedError(111, "Connection refused")


def _started(store: MemoryStore, clock: Clock, run_dir: Path, *round_idxs: int) -> MlflowSink:
    sink = sink_on(store, clock)
    sink.start(about(run_dir))
    for round_idx in round_idxs:
        sink.log(commit(run_dir, round_idx))
    return sink


def test_end_delivers_everything_at_once(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir, 0)
    commit(run_dir, 1)
    sink.end("KILLED", {"accuracy": 0.5})
    assert sink.outcome() == TrackingOutcome("m0", 2, None)
    assert store.points["m0"] == points(0, 1)
    assert store.runs["m0"].info.status == "KILLED"
    assert store.runs["m0"].tags["summary.accuracy"] == "0.5"
    noted = Delivery.noted(run_dir)
    assert noted is not None
    assert noted.ended


def test_end_does_not_wait_for_a_store_that_is_away(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir, 0)
    store.away = AWAY
    commit(run_dir, 1)
    sink.end("FINISHED", {})
    assert clock.waits_s == []
    outcome = sink.outcome()
    assert (outcome.mlflow_run_id, outcome.num_logged) == ("m0", 1)
    assert "it holds 1 of 2 rounds" in str(outcome.problem)
    noted = Delivery.noted(run_dir)
    assert noted is not None
    assert not noted.ended


def test_what_end_could_not_deliver_close_does(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir, 0)
    store.away = AWAY
    sink.end("FINISHED", {"accuracy": 0.5})
    store.away = None
    assert sink.close() == TrackingOutcome("m0", 1, None)
    assert store.runs["m0"].info.status == "FINISHED"
    assert store.artifacts["m0"] == {"summary.json", "metrics.jsonl", "curves.png"}


def test_end_keeps_to_the_waits_between_tries(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = _started(store, clock, run_dir)
    store.away = AWAY
    sink.log(commit(run_dir, 0))
    num_calls = len(store.calls)
    store.away = None
    sink.end("FINISHED", {})
    assert len(store.calls) == num_calls, "half a second has not passed"
    assert sink.outcome().problem is not None
    assert sink.close_within(0.0) == (TrackingOutcome("m0", 1, None), 0.0)


@pytest.mark.parametrize("patience_s", [0.0, 0.25, 3.0])
def test_close_within_waits_so_long_and_says_so(tmp_path: Path, patience_s: float) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.away = AWAY
    sink.end("FINISHED", {})
    outcome, waited_s = sink.close_within(patience_s)
    assert "did not take everything" in str(outcome.problem)
    assert waited_s == sum(clock.waits_s) == pytest.approx(patience_s)


def test_close_within_takes_no_time_for_a_store_that_is_there(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    sink.end("FINISHED", {})
    assert sink.close_within(10.0) == (TrackingOutcome("m0", 1, None), 0.0)
    assert clock.waits_s == []


def test_a_wait_that_helped_is_counted_too(tmp_path: Path) -> None:
    """Seconds that were spent on a store that was away are spent, also when it came back."""
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.away = AWAY
    sink.end("FINISHED", {})
    clock.at[3.0] = lambda: setattr(store, "away", None)
    outcome, waited_s = sink.close_within(10.0)
    assert outcome == TrackingOutcome("m0", 1, None)
    assert waited_s == sum(clock.waits_s) >= 3.0


def test_close_within_does_not_wait_where_the_store_refuses(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.away = MlflowException("no such permission", PERMISSION_DENIED)
    sink.end("FINISHED", {})
    outcome, waited_s = sink.close_within(10.0)
    assert "no such permission" in str(outcome.problem)
    assert (waited_s, clock.waits_s) == (0.0, [])


def test_after_finish_has_given_up_close_within_does_not_begin_again(tmp_path: Path) -> None:
    store, clock = MemoryStore(), Clock()
    sink = _started(store, clock, tmp_path / "r1", 0)
    store.away = AWAY
    sink.finish("FINISHED", {})
    num_waits = len(clock.waits_s)
    sink.close_within(10.0)
    assert len(clock.waits_s) == num_waits


def test_the_outcome_is_there_at_any_time(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    assert sink_on(store, clock).outcome() == TrackingOutcome(None, 0, None)
    store.away = AWAY
    sink = _started(store, clock, run_dir)
    assert sink.outcome().mlflow_run_id is None
    assert "it holds 0 of 0 rounds" in str(sink.outcome().problem)
    store.away = None
    clock.sleep(1.0)
    sink.log(commit(run_dir, 0))
    assert sink.outcome() == TrackingOutcome("m0", 1, None)


def test_closing_what_was_never_started_takes_no_time() -> None:
    assert MlflowSink().close_within(5.0) == (TrackingOutcome(None, 0, None), 0.0)


def test_a_run_that_goes_on_has_not_ended(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    _started(store, clock, run_dir, 0).end("FINISHED", {})
    sink = _started(store, clock, run_dir)
    noted = Delivery.noted(run_dir)
    assert noted is not None
    assert (noted.ended, noted.num_delivered) == (False, 1)
    sink.log(record(0))
    sink.end("FINISHED", {})
    noted = Delivery.noted(run_dir)
    assert noted is not None
    assert noted.ended
    assert store.points == {"m0": points(0)}
