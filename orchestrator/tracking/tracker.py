"""The interface between a run and its tracker. No method of a tracker may delay a round."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar, final

from orchestrator.errors import TrackingError
from orchestrator.tracking.record import RoundRecord, RunInfo

Status = Literal["FINISHED", "FAILED", "KILLED"]
T = TypeVar("T")


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
    """The driver calls `start` once, `log` after each commit, `finish` if the run has ended, and `close` last."""

    def start(self, info: RunInfo) -> None:
        """Start tracking a run that starts or resumes."""

    def log(self, record: RoundRecord) -> None:
        """Log a committed round, whose record is in `metrics.jsonl` and will not change."""

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Finish a run that has ended and whose folder is complete. Not called for an interrupted run."""

    def close(self) -> TrackingOutcome:
        """Wait until everything is delivered, at most `flush_timeout_s`. This is the last call."""


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


@final
class ThreadTracker:
    """Makes a blocking tracker non-blocking: one thread runs the calls in their order."""

    def __init__(self, sink: Tracker) -> None:
        """From now on, only this tracker may call `sink`."""
        self._sink = sink
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracking")
        self._first_error: tuple[str, Exception] | None = None

    def start(self, info: RunInfo) -> None:
        """Queue the call."""
        self._thread.submit(self._guard, "start", lambda: self._sink.start(info))

    def log(self, record: RoundRecord) -> None:
        """Queue the call."""
        self._thread.submit(self._guard, "log", lambda: self._sink.log(record))

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Queue the call."""
        self._thread.submit(self._guard, "finish", lambda: self._sink.finish(status, summary))

    def close(self) -> TrackingOutcome:
        """Wait for the queue and the sink. Raises TrackingError if a call has failed, with the first error as cause."""
        closing = self._thread.submit(self._guard, "close", self._sink.close)
        self._thread.shutdown(wait=True)
        if self._first_error is not None:
            call, error = self._first_error
            raise TrackingError(f"tracking failed in {call}: {type(error).__name__}: {error}") from error
        outcome = closing.result()
        assert outcome is not None
        return outcome

    def _guard(self, name: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as error:
            self._first_error = self._first_error or (name, error)
            return None
