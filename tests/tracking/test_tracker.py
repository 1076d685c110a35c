"""The thread around a blocking tracker: only `close` waits, calls keep their order, and errors are raised."""

from collections.abc import Mapping
from threading import Event
from threading import enumerate as enumerate_threads

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
    """A tracker that blocks in `start` until `released` is set, records its calls, and fails in the given rounds."""

    def __init__(self, *failing_rounds: int) -> None:
        self.entered, self.released = Event(), Event()
        self.calls: list[str] = []
        self.failing_rounds = failing_rounds

    def start(self, info: RunInfo) -> None:
        self.entered.set()
        assert self.released.wait(timeout=60)
        self.calls.append(f"start {info.run_id}")

    def log(self, record: RoundRecord) -> None:
        if record.round_idx in self.failing_rounds:
            raise KeyError(f"round {record.round_idx}")
        self.calls.append(f"log {record.round_idx}")

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        self.calls.append(f"finish {status} {dict(summary)}")

    def close(self) -> TrackingOutcome:
        self.calls.append("close")
        return TrackingOutcome("m", 2, None)

    def abandon(self, timeout_s: float) -> None:
        self.calls.append("abandon")


def test_calls_do_not_wait_for_the_sink_and_keep_their_order() -> None:
    sink = SlowSink()
    tracker = ThreadTracker(sink)
    tracker.start(INFO)
    tracker.log(RoundRecord(0, 0, {}))
    tracker.log(RoundRecord(1, 0, {}))
    tracker.finish("FINISHED", {"accuracy": 0.5})
    assert sink.calls == []
    sink.released.set()
    assert tracker.close() == TrackingOutcome("m", 2, None)
    assert sink.calls == ["start r", "log 0", "log 1", "finish FINISHED {'accuracy': 0.5}", "close"]


def test_close_raises_the_first_error_after_all_calls() -> None:
    sink = SlowSink(1, 2)
    sink.released.set()
    tracker = ThreadTracker(sink)
    tracker.start(INFO)
    for round_idx in range(4):
        tracker.log(RoundRecord(round_idx, 0, {}))
    with pytest.raises(TrackingError, match=r"\blog\b.*KeyError.*round 1") as raised:
        tracker.close()
    assert isinstance(raised.value.__cause__, KeyError)
    assert sink.calls == ["start r", "log 0", "log 3", "close"]


def test_null_tracker_delivers_nothing() -> None:
    tracker = NullTracker()
    tracker.start(INFO)
    tracker.log(RoundRecord(0, 0, {}))
    tracker.finish("FINISHED", {})
    tracker.abandon(1.0)
    assert tracker.close() == TrackingOutcome(None, 0, None)


def test_abandon_skips_the_calls_that_have_not_started() -> None:
    sink = SlowSink()
    tracker = ThreadTracker(sink)
    tracker.start(INFO)
    tracker.log(RoundRecord(0, 0, {}))
    assert sink.entered.wait(timeout=60)
    tracker.abandon(0.0)
    sink.released.set()
    tracker.abandon(60.0)
    assert sink.calls[-1] == "abandon"
    assert "log 0" not in sink.calls


def test_abandon_does_not_wait_for_a_sink_that_hangs() -> None:
    """The thread of the sink is a daemon, so that it does not keep the interpreter from exiting."""
    sink = SlowSink()
    tracker = ThreadTracker(sink)
    tracker.start(INFO)
    assert sink.entered.wait(timeout=60)
    tracker.abandon(0.01)
    assert sink.calls == []
    assert [thread.daemon for thread in enumerate_threads() if thread.name == "tracking"][-1]
    sink.released.set()
