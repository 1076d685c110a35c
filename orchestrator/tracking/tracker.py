"""The interface between a run and its tracker. No method of a tracker may delay a round."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal, Protocol, final

from orchestrator.errors import TrackingError
from orchestrator.tracking.record import RoundRecord, RunInfo

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, slots=True)
class TrackingOutcome:
    """The result of tracking when a run ends.

    `mlflow_run_id` is None when no MLflow run was opened. `num_logged` counts the rounds in MLflow, including rounds
    that earlier processes logged. `problem` is None when MLflow has everything; else it says what is missing, and the
    remedy.
    """

    mlflow_run_id: str | None
    num_logged: int
    problem: str | None


class Tracker(Protocol):
    """Sends a run to a tracking server.

    A run calls `start` once its clients can train or cannot start, `log` after each commit, `finish` when the run has
    ended, and `close` or `abandon` last. An interrupted run may call `abandon` without `start`.
    """

    def start(self, info: RunInfo) -> None:
        """Start tracking a run that starts or resumes."""

    def log(self, record: RoundRecord) -> None:
        """Log a committed round, whose record is in `metrics.jsonl` and will not change."""

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Finish a run that has ended, also after an interruption, and whose folder is complete."""

    def close(self) -> TrackingOutcome:
        """Wait until everything is delivered, at most `flush_timeout_s`. This is the last call."""

    def abandon(self, timeout_s: float) -> None:
        """Mark the run as killed if the server answers within `timeout_s`, and deliver nothing else. Never raises."""


@final
class NullTracker:
    """Tracks nothing (`tracking.enabled=false`)."""

    def start(self, info: RunInfo) -> None:
        """Do nothing."""

    def log(self, record: RoundRecord) -> None:
        """Do nothing."""

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Do nothing."""

    def close(self) -> TrackingOutcome:
        """Return an outcome without a problem."""
        return TrackingOutcome(None, 0, None)

    def abandon(self, timeout_s: float) -> None:
        """Do nothing."""


@final
class ThreadTracker:
    """Makes a blocking tracker non-blocking: one thread runs the calls in their order.

    The interpreter does not wait for this thread when it exits, because a server may never answer.
    """

    def __init__(self, sink: Tracker) -> None:
        """From now on, only this tracker may call `sink`."""
        self._sink = sink
        self._queue: SimpleQueue[tuple[str, Callable[[], object]] | None] = SimpleQueue()
        self._first_error: tuple[str, Exception] | None = None
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def start(self, info: RunInfo) -> None:
        """Queue the call."""
        self._queue.put(("start", lambda: self._sink.start(info)))

    def log(self, record: RoundRecord) -> None:
        """Queue the call."""
        self._queue.put(("log", lambda: self._sink.log(record)))

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Queue the call."""
        self._queue.put(("finish", lambda: self._sink.finish(status, summary)))

    def close(self) -> TrackingOutcome:
        """Wait for the queue and the sink. Raises TrackingError if a call has failed, with the first error as cause."""
        outcomes: list[TrackingOutcome] = []
        self._queue.put(("close", lambda: outcomes.append(self._sink.close())))
        self._queue.put(None)
        self._thread.join()
        if self._first_error is not None:
            call, error = self._first_error
            raise TrackingError(f"tracking failed in {call}: {type(error).__name__}: {error}") from error
        return outcomes[0]

    def abandon(self, timeout_s: float) -> None:
        """Skip the queued calls, and give the sink `timeout_s` after the call that it executes now."""
        self._abandoned = True
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (queued := self._queue.get()) is not None:
            if self._abandoned:
                continue
            name, call = queued
            try:
                call()
            except Exception as error:
                self._first_error = self._first_error or (name, error)
        if self._abandoned:
            self._sink.abandon(0.0)
