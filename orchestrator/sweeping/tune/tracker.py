"""Sends the metrics of a sweep to MLflow through one writer actor. The sweep waits for the writer only at the end."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import ray

from orchestrator.errors import ActorsLostError, SparsefleetError, TrackingError, one_line
from orchestrator.execution.ray_actors import GONE, end_actors, get_unwrapped, once_free, this_node
from orchestrator.execution.ray_calls import PendingCalls
from orchestrator.plugins.ray_checked_actor import actor_class, start_error
from orchestrator.runtime.restart_counter import RestartCounter
from orchestrator.runtime.run_folder import mention_ray_log
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.credentials import client_factory
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.sweep_sink import SweepSink
from orchestrator.tracking.tracker import Status

_LOG = logging.getLogger(__name__)


@final
class SweepTracker:
    """Forwards calls to the writer actor in order; does nothing when MLflow is off (`info` is None).

    The tracker starts another writer when the writer dies. The new writer continues after the last delivered records,
    because the positions are files in the runs' folders. `spent_s` is the time that the sweep's process has spent on
    tracking, in seconds.
    """

    def __init__(
        self, sweep_id: str, info: RunInfo | None, note: Callable[[str], object] = _LOG.warning
    ) -> None:
        """Start the writer, which opens the MLflow run of the sweep. `note` reports each restart of the writer."""
        self.spent_s = 0.0
        self._sweep_id, self._info, self._note = sweep_id, info, note
        self._losses, self._given_up = RestartCounter(), False
        self._calls = PendingCalls()
        self._runs: dict[str, RunInfo] = {}
        self._endings: dict[str, tuple[Any, ...]] = {}
        self._finish: tuple[Any, ...] | None = None
        self._writer: Any = None
        if info is not None:
            self._start_writer(info)

    @property
    def is_on(self) -> bool:
        """Whether the sweep is tracked in MLflow."""
        return self._info is not None

    def check(self) -> None:
        """Raise TrackingError if MLflow has already rejected the sweep's run. Does not wait for an answer."""
        if self._writer is None:
            return
        ready, _ = ray.wait([self._opening], timeout=0)
        if ready:
            with suppress(ActorsLostError):  # the next call restarts the writer
                get_unwrapped(self._opening, "the tracker")

    def start(self, info: RunInfo) -> None:
        """Start to track the run of a trial, or resume tracking."""
        self._call("start", info)
        self._runs[info.run_id] = info

    def advance(self, run_id: str, round_idx: int) -> None:
        """Send the records of a trial's run up to this round (0-based)."""
        self._call("advance", run_id, round_idx)

    def end(self, run_id: str, status: Status, summary: RunSummary) -> None:
        """Mark the run of a trial as ended."""
        known = {key: value for key, value in summary.to_dict().items() if value is not None}
        self._call("end", run_id, status, known)
        self._endings[run_id] = (run_id, status, known)

    def log(self, record: RoundRecord) -> None:
        """Send a record of the sweep's own metrics."""
        self._call("log", record)

    def finish(self, status: Status, summary: dict[str, Any]) -> None:
        """Mark the sweep as ended."""
        self._call("finish", status, summary)
        self._finish = (status, summary)

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
        """Wait for the writer; return what it could not deliver, or None.

        Raises TrackingError when the writer died again and again.
        """
        if self._writer is None:
            return None
        started_s = time.perf_counter()
        try:
            return self._close_writer()
        except ray.exceptions.RayError as error:
            raise TrackingError(f"tracking failed: {one_line(error)}") from error
        finally:
            end_actors([self._writer])
            self.spent_s += time.perf_counter() - started_s

    def abandon(self, timeout_s: float) -> None:
        """Mark the sweep and its unfinished runs as killed if MLflow answers in time, and deliver nothing else."""
        if self._writer is not None:
            with suppress(ray.exceptions.RayError):
                ray.wait([self._writer.abandon.remote(timeout_s)], timeout=timeout_s)
                ray.kill(self._writer)

    def _close_writer(self) -> str | None:
        while True:
            try:
                with suppress(ActorsLostError):
                    get_unwrapped(self._opening, "the tracker")
                self._calls.wait()
                problem: str | None = ray.get(self._writer.close.remote())
                return problem
            except GONE as error:
                if self._given_up or not self._restart(error):
                    raise

    def _call(self, method: str, *arguments: Any) -> None:
        if self._writer is None or self._given_up:
            return
        started_s = time.perf_counter()
        if not (loss := self._calls.collect()) or self._restart(loss):
            self._calls.add(getattr(self._writer, method).remote(*arguments))
        self.spent_s += time.perf_counter() - started_s

    def _start_writer(self, info: RunInfo) -> None:
        options = {"name": f"{self._sweep_id}/tracker", "num_cpus": 0, "scheduling_strategy": this_node()}
        sink_class = actor_class(SweepSink).options(**options)
        self._writer = once_free(lambda: sink_class.remote(client_factory()))
        self._calls = PendingCalls()
        self._opening = self._writer.open.remote(info)

    def _restart(self, error: Exception) -> bool:
        """Start another writer and repeat the calls that it needs; return whether the tracker has not given up."""
        assert self._info is not None, "a writer exists only with an info"
        problem = start_error(error, "the MLflow tracker")
        if problem is not None or not self._losses.record_loss(self._num_delivered()):
            self._given_up = True
            died = f"the MLflow tracker died {self._losses.num_losses} times"
            self._note(f"{problem or died}; resume the sweep to deliver the rest")
            return False
        ray_log = mention_ray_log(Path(self._info.run_dir))
        self._note(f"the MLflow tracker died ({one_line(error)}); it restarts{ray_log}")
        end_actors([self._writer])  # a dead actor too, because its handle keeps the actor's name in use
        self._start_writer(self._info)
        for run_id, info in self._runs.items():
            delivery = Delivery.load(Path(info.run_dir))
            if delivery is None or not delivery.ended or run_id not in self._endings:
                self._calls.add(self._writer.start.remote(info))
                if run_id in self._endings:
                    self._calls.add(self._writer.end.remote(*self._endings[run_id]))
        if self._finish is not None:
            self._calls.add(self._writer.finish.remote(*self._finish))
        return True

    def _num_delivered(self) -> int:
        """Count the delivered rounds of all runs of this process."""
        deliveries = [Delivery.load(Path(info.run_dir)) for info in self._runs.values()]
        return sum(delivery.num_delivered for delivery in deliveries if delivery is not None)
