"""Sends the metrics of a sweep to MLflow through one writer actor. The sweep waits for the writer only at the end."""

import time
from typing import Any, final

import ray

from orchestrator.errors import SparsefleetError, TrackingError, one_line
from orchestrator.execution.ray_actors import end_actors, get_unwrapped, this_node
from orchestrator.execution.ray_calls import PendingCalls
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.credentials import client_factory
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.sweep_sink import SweepSink
from orchestrator.tracking.tracker import Status


@final
class SweepTracker:
    """Forwards calls to the writer actor in order; does nothing when MLflow is off (`info` is None).

    `spent_s` is the time that the sweep's process has spent on tracking, in seconds.
    """

    def __init__(self, sweep_id: str, info: RunInfo | None) -> None:
        """Start the writer, which opens the MLflow run of the sweep."""
        self.spent_s = 0.0
        self._calls = PendingCalls()
        self._writer: Any = None
        if info is not None:
            options = {"name": f"{sweep_id}/tracker", "num_cpus": 0, "scheduling_strategy": this_node()}
            self._writer = ray.remote(SweepSink).options(**options).remote(client_factory())
            self._opening = self._writer.open.remote(info)

    def check(self) -> None:
        """Raise TrackingError if MLflow has already rejected the sweep's run. Does not wait for an answer."""
        if self._writer is None:
            return
        ready, _ = ray.wait([self._opening], timeout=0)
        if ready:
            get_unwrapped(self._opening, "the tracker")

    def start(self, info: RunInfo) -> None:
        """Start to track the run of a trial, or resume tracking."""
        self._call("start", info)

    def advance(self, run_id: str, round_idx: int) -> None:
        """Send the records of a trial's run up to this round (0-based)."""
        self._call("advance", run_id, round_idx)

    def end(self, run_id: str, status: Status, summary: RunSummary) -> None:
        """Mark the run of a trial as ended."""
        known = {key: value for key, value in summary.to_dict().items() if value is not None}
        self._call("end", run_id, status, known)

    def log(self, record: RoundRecord) -> None:
        """Send a record of the sweep's own metrics."""
        self._call("log", record)

    def finish(self, status: Status, summary: dict[str, Any]) -> None:
        """Mark the sweep as ended."""
        self._call("finish", status, summary)

    def fail(self) -> str | None:
        """Mark the sweep as failed and close the tracker; return the tracking problem, if any.

        The method returns the problem instead of raising, so that it does not hide the error of the sweep.
        """
        try:
            self.finish("FAILED", {})
            return self.close()
        except SparsefleetError as error:
            return str(error)

    def close(self) -> str | None:
        """Wait for the writer; return what it could not deliver, or None. Raises TrackingError when the writer died."""
        if self._writer is None:
            return None
        started_s = time.perf_counter()
        try:
            get_unwrapped(self._opening, "the tracker")
            self._calls.wait()
            problem: str | None = ray.get(self._writer.close.remote())
        except ray.exceptions.RayError as error:
            raise TrackingError(f"tracking failed: {one_line(error)}") from error
        finally:
            end_actors([self._writer])
            self.spent_s += time.perf_counter() - started_s
        return problem

    def _call(self, method: str, *arguments: Any) -> None:
        if self._writer is not None:
            started_s = time.perf_counter()
            self._calls.add(getattr(self._writer, method).remote(*arguments))
            self.spent_s += time.perf_counter() - started_s
