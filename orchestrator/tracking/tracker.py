"""The seam between a run and whatever follows it: four methods, none of which may hold up a round."""

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
    """What had arrived when tracking ended.

    `mlflow_run_id` is None when no run was opened; `num_logged` counts the rounds that MLflow holds, those
    of earlier processes included; `problem` is None when everything arrived, else it names the remedy.
    """

    mlflow_run_id: str | None
    num_logged: int
    problem: str | None


class Tracker(Protocol):
    """Called by the driver alone: `start` once, `log` after a commit, `finish` if it ended, `close` last."""

    def start(self, info: RunInfo) -> None:
        """A run begins or resumes."""

    def log(self, record: RoundRecord) -> None:
        """A round is committed: its record is in `metrics.jsonl` and will not be taken back."""

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """The run has ended and its folder is complete. Not called when the run is to be resumed."""

    def close(self) -> TrackingOutcome:
        """Wait until everything is delivered or `flush_timeout_s` has passed. The last call."""


@final
class NullTracker:
    """Follows nothing (`tracking.enabled=false`)."""

    def start(self, info: RunInfo) -> None:
        """Does nothing."""

    def log(self, record: RoundRecord) -> None:
        """Does nothing."""

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Does nothing."""

    def close(self) -> TrackingOutcome:
        """Nothing was to be delivered."""
        return TrackingOutcome(None, 0, None)


@final
class ThreadTracker:
    """Makes a blocking tracker non-blocking: one thread of its own runs the calls in the order they came."""

    def __init__(self, sink: Tracker) -> None:
        """Takes the sink over: from now on only this tracker calls it."""
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
        """Wait for the queue and the sink. Raises TrackingError from the first error that a call raised."""
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
