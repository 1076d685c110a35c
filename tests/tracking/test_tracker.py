"""The thread around a blocking tracker: nothing waits but `close`, order holds, errors come out."""

from collections.abc import Mapping
from threading import Event

import pytest

from orchestrator.errors import TrackingError
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import NullTracker, Status, ThreadTracker, TrackingOutcome

INFO = RunInfo(
    run_id="r",
    run_dir="/nowhere",
    uri="",
    experiment="e",
    artifact_root=None,
    run_name="r",
    params={},
    tags={},
    flush_timeout_s=1.0,
)


class SlowSink:
    """Blocks in `start` until it is let go; notes its calls; fails in the rounds it is told to."""

    def __init__(self, *bad_rounds: int) -> None:
        self.let_go = Event()
        self.calls: list[str] = []
        self.bad_rounds = bad_rounds

    def start(self, info: RunInfo) -> None:
        assert self.let_go.wait(timeout=60)
        self.calls.append(f"start {info.run_id}")

    def log(self, record: RoundRecord) -> None:
        if record.round_idx in self.bad_rounds:
            raise KeyError(f"round {record.round_idx}")
        self.calls.append(f"log {record.round_idx}")

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        self.calls.append(f"finish {status} {dict(summary)}")

    def close(self) -> TrackingOutcome:
        self.calls.append("close")
        return TrackingOutcome("m", 2, None)


def test_calls_return_before_the_sink_is_done_and_keep_their_order() -> None:
    sink = SlowSink()
    tracker = ThreadTracker(sink)
    tracker.start(INFO)
    tracker.log(RoundRecord(0, 0, {}))
    tracker.log(RoundRecord(1, 0, {}))
    tracker.finish("FINISHED", {"accuracy": 0.5})
    assert sink.calls == []
    sink.let_go.set()
    assert tracker.close() == TrackingOutcome("m", 2, None)
    assert sink.calls == ["start r", "log 0", "log 1", "finish FINISHED {'accuracy': 0.5}", "close"]


def test_first_error_surfaces_at_the_end_and_stops_nothing() -> None:
    sink = SlowSink(1, 2)
    sink.let_go.set()
    tracker = ThreadTracker(sink)
    tracker.start(INFO)
    for round_idx in range(4):
        tracker.log(RoundRecord(round_idx, 0, {}))
    with pytest.raises(TrackingError, match="tracking failed in log: KeyError: 'round 1'") as raised:
        tracker.close()
    assert isinstance(raised.value.__cause__, KeyError)
    assert sink.calls == ["start r", "log 0", "log 3", "close"]


def test_null_tracker_delivers_nothing() -> None:
    tracker = NullTracker()
    tracker.start(INFO)
    tracker.log(RoundRecord(0, 0, {}))
    tracker.finish("FINISHED", {})
    assert tracker.close() == TrackingOutcome(None, 0, None)
