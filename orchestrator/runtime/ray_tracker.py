"""MLflow in an actor of its own, off the path of the rounds."""

from collections.abc import Mapping
from typing import Any, Literal, final

import ray

from orchestrator.errors import TrackingError, one_line
from orchestrator.execution.ray_actors import end_actors, this_node
from orchestrator.execution.ray_calls import PendingCalls
from orchestrator.runtime.ray_head_monitor import Head
from orchestrator.tracking.credentials import client_factory
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import TrackingOutcome

_LATER = "what MLflow has not been told is told when the run goes on"


@final
class RayTracker:
    """A sink in an actor of its own (Tracker); calls are sent in order and awaited only by `close`."""

    def __init__(self, run_id: str, head: Head) -> None:
        self._head = head
        self._sink: Any = (
            ray.remote(MlflowSink)
            .options(name=f"{run_id}/tracker", num_cpus=0, scheduling_strategy=this_node())
            .remote(client_factory())
        )
        self._calls = PendingCalls()

    def start(self, info: RunInfo) -> None:
        """See Tracker."""
        self._tell(self._sink.start, info)

    def log(self, record: RoundRecord) -> None:
        """See Tracker."""
        self._tell(self._sink.log, record)

    def finish(
        self, status: Literal["FINISHED", "FAILED", "KILLED"], summary: Mapping[str, float | int | str]
    ) -> None:
        """See Tracker."""
        self._tell(self._sink.finish, status, dict(summary))

    def close(self) -> TrackingOutcome:
        """See Tracker."""
        if self._head.is_lost:
            raise TrackingError(_LATER)
        try:
            with self._head.noticing():
                try:
                    self._calls.wait()
                    outcome: TrackingOutcome = ray.get(self._sink.close.remote())
                finally:
                    if self._head.answers():
                        end_actors([self._sink])
        except ray.exceptions.RayError as error:
            raise TrackingError(f"tracking failed: {one_line(error)}") from error
        except ConnectionError as error:
            if not self._head.is_lost:
                raise
            raise TrackingError(f"{_LATER} ({error})") from error
        return outcome

    def _tell(self, method: Any, *arguments: object) -> None:
        """Make a call, unless there is no head any more: then the run's resumption tells MLflow."""
        if self._head.is_lost:
            return
        try:
            with self._head.noticing():
                self._calls.add(method.remote(*arguments))
        except ConnectionError:
            if not self._head.is_lost:
                raise
