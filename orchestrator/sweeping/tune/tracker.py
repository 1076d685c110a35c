"""The sweep's tracker: its one writer in an actor of its own, whose calls nobody waits for until the end."""

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
    """Hands calls to the writer in order; without MLflow (`info` None) it does nothing.

    `spent_s` is the time that the sweep's process has spent on tracking.
    """

    def __init__(self, sweep_id: str, info: RunInfo | None) -> None:
        """Starts the writer, which opens the sweep's MLflow run."""
        self.spent_s = 0.0
        self._calls = PendingCalls()
        self._writer: Any = None
        if info is not None:
            options = {"name": f"{sweep_id}/tracker", "num_cpus": 0, "scheduling_strategy": this_node()}
            self._writer = ray.remote(SweepSink).options(**options).remote(client_factory())
            self._opening = self._writer.open.remote(info)

    def check(self) -> None:
        """Raise TrackingError if the store is known to have refused the sweep's run; waits for nothing."""
        if self._writer is None:
            return
        ready, _ = ray.wait([self._opening], timeout=0)
        if ready:
            get_unwrapped(self._opening, "the tracker")

    def start(self, info: RunInfo) -> None:
        """A trial's run begins, or goes on."""
        self._call("start", info)

    def advance(self, run_id: str, round_idx: int) -> None:
        """A trial's run has committed this round."""
        self._call("advance", run_id, round_idx)

    def end(self, run_id: str, status: Status, summary: RunSummary) -> None:
        """A trial's run has ended."""
        known = {key: value for key, value in summary.to_dict().items() if value is not None}
        self._call("end", run_id, status, known)

    def log(self, record: RoundRecord) -> None:
        """A line of the sweep's own metrics."""
        self._call("log", record)

    def finish(self, status: Status, summary: dict[str, Any]) -> None:
        """The sweep has ended."""
        self._call("finish", status, summary)

    def give_up(self) -> str | None:
        """Mark the sweep as failed and close; what tracking has to complain about must not hide why it failed."""
        try:
            self.finish("FAILED", {})
            return self.close()
        except SparsefleetError as error:
            return str(error)

    def close(self) -> str | None:
        """Wait for the writer; None when all has arrived, else what is missing. Raises TrackingError when it died."""
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
