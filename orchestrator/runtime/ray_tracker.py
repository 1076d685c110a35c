"""Write to MLflow from an actor, so that the rounds do not wait for it."""

from collections.abc import Mapping
from typing import Any, Literal, final

import ray

from orchestrator.errors import TrackingError, one_line
from orchestrator.execution.ray_actors import end_actors, this_node
from orchestrator.execution.ray_calls import PendingCalls
from orchestrator.runtime.ray_head_monitor import HeadMonitor
from orchestrator.tracking.credentials import client_factory
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import TrackingOutcome

_DELIVERED_LATER = "MLflow gets the missing records when the run is resumed"


@final
class RayTracker:
    """Sends records to an MLflow sink in an actor (see Tracker). Calls keep their order; only `close` waits."""

    def __init__(self, run_id: str, head: HeadMonitor) -> None:
        self._head = head
        self._sink: Any = (
            ray.remote(MlflowSink)
            .options(name=f"{run_id}/tracker", num_cpus=0, scheduling_strategy=this_node())
            .remote(client_factory())
        )
        self._calls = PendingCalls()

    def start(self, info: RunInfo) -> None:
        """See Tracker."""
        self._send(self._sink.start, info)

    def log(self, record: RoundRecord) -> None:
        """See Tracker."""
        self._send(self._sink.log, record)

    def finish(
        self, status: Literal["FINISHED", "FAILED", "KILLED"], summary: Mapping[str, float | int | str]
    ) -> None:
        """See Tracker."""
        self._send(self._sink.finish, status, dict(summary))

    def close(self) -> TrackingOutcome:
        """See Tracker."""
        if self._head.is_lost:
            raise TrackingError(_DELIVERED_LATER)
        try:
            with self._head.detecting_loss():
                try:
                    self._calls.wait()
                    outcome: TrackingOutcome = ray.get(self._sink.close.remote())
                finally:
                    if self._head.responds():
                        end_actors([self._sink])
        except ray.exceptions.RayError as error:
            raise TrackingError(f"tracking failed: {one_line(error)}") from error
        except ConnectionError as error:
            if not self._head.is_lost:
                raise
            raise TrackingError(f"{_DELIVERED_LATER} ({error})") from error
        return outcome

    def _send(self, method: Any, *arguments: object) -> None:
        """Call a method of the sink. If the head is lost, do nothing: the resumed run sends the record."""
        if self._head.is_lost:
            return
        try:
            with self._head.detecting_loss():
                self._calls.add(method.remote(*arguments))
        except ConnectionError:
            if not self._head.is_lost:
                raise
