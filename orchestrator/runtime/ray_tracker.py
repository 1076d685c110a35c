"""Write to MLflow from an actor, so that the rounds do not wait for it, and restart the actor when it dies."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import ray

from orchestrator.errors import TrackingError, one_line
from orchestrator.execution.ray_actors import GONE, end_actors, once_free, this_node
from orchestrator.execution.ray_calls import PendingCalls
from orchestrator.plugins.ray_checked_actor import actor_class, start_error
from orchestrator.runtime.ray_head_monitor import HeadMonitor
from orchestrator.runtime.restart_counter import RestartCounter
from orchestrator.runtime.run_folder import mention_ray_log
from orchestrator.tracking.credentials import client_factory
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import Status, TrackingOutcome

_TRACKER = "the MLflow tracker"
_DELIVERED_LATER = "MLflow gets the missing records when the run is resumed"


@final
class RayTracker:
    """Sends records to an MLflow sink in an actor (see Tracker). Calls keep their order; only `close` waits.

    The tracker starts another actor when the actor dies. The new actor continues after the last delivered record,
    because the position is a file in the run's folder. At the fourth consecutive loss without a delivered record the
    tracker gives up, and `close` raises TrackingError.
    """

    def __init__(self, run_id: str, head: HeadMonitor, note: Callable[[str], None]) -> None:
        """`note` reports each restart of the actor."""
        self._run_id, self._head, self._note = run_id, head, note
        self._losses = RestartCounter()
        self._info: RunInfo | None = None
        self._ending: tuple[Status, dict[str, float | int | str]] | None = None
        self._given_up: Exception | None = None

    def start(self, info: RunInfo) -> None:
        """See Tracker. Starts the actor, except if the head is lost."""
        if self._head.is_lost:
            return
        self._info = info
        self._start_actor()
        self._send("start", info)

    def log(self, record: RoundRecord) -> None:
        """See Tracker."""
        self._send("log", record)

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """See Tracker."""
        self._ending = status, dict(summary)
        self._send("finish", *self._ending)

    def close(self) -> TrackingOutcome:
        """See Tracker."""
        if self._head.is_lost:
            raise TrackingError(_DELIVERED_LATER)
        try:
            with self._head.detecting_loss():
                try:
                    return self._close_actor()
                finally:
                    if self._head.responds():
                        end_actors([self._sink])
        except ray.exceptions.RayError as error:
            problem = start_error(error, _TRACKER) or one_line(error)
            raise TrackingError(f"tracking failed: {problem}") from error
        except ConnectionError as error:
            if not self._head.is_lost:
                raise
            raise TrackingError(f"{_DELIVERED_LATER} ({error})") from error

    def abandon(self, timeout_s: float) -> None:
        """See Tracker."""
        if self._head.is_lost or self._info is None:
            return
        with suppress(ray.exceptions.RayError, ConnectionError), self._head.detecting_loss():
            ray.wait([self._sink.abandon.remote(timeout_s)], timeout=timeout_s)
            ray.kill(self._sink)

    def _close_actor(self) -> TrackingOutcome:
        while True:
            try:
                self._calls.wait()
                outcome: TrackingOutcome = ray.get(self._sink.close.remote())
                return outcome
            except GONE as error:
                if self._given_up is None:
                    self._restart(error)
                if self._given_up is not None:
                    raise

    def _start_actor(self) -> None:
        options = {"name": f"{self._run_id}/tracker", "num_cpus": 0, "scheduling_strategy": this_node()}
        sink_class = actor_class(MlflowSink).options(**options)
        self._sink: Any = once_free(lambda: sink_class.remote(client_factory()))
        self._calls = PendingCalls()

    def _restart(self, error: Exception) -> None:
        """Start another actor and repeat the calls that it needs.

        Give up after too many losses, and at once if the actor cannot start.
        """
        num_delivered = self._num_delivered()
        problem = start_error(error, _TRACKER)
        if problem is not None or not self._losses.record_loss(num_delivered):
            self._given_up = error
            self._note(f"{problem or f'{_TRACKER} died {self._losses.num_losses} times'}; {_DELIVERED_LATER}")
            return
        self._note(
            f"{_TRACKER} died ({one_line(error)}); it restarts after {num_delivered} delivered rounds"
            f"{'' if self._info is None else mention_ray_log(Path(self._info.run_dir))}"
        )
        end_actors([self._sink])  # a dead actor too, because its handle keeps the actor's name in use
        self._start_actor()
        if self._info is not None:
            self._calls.add(self._sink.start.remote(self._info))
        if self._ending is not None:
            self._calls.add(self._sink.finish.remote(*self._ending))

    def _num_delivered(self) -> int:
        delivery = None if self._info is None else Delivery.load(Path(self._info.run_dir))
        return 0 if delivery is None else delivery.num_delivered

    def _send(self, method: str, *arguments: object) -> None:
        """Call a method of the sink. If the head is lost, do nothing: the resumed run sends the record."""
        if self._head.is_lost or self._given_up is not None:
            return
        try:
            with self._head.detecting_loss():
                if error := self._calls.collect():
                    self._restart(error)
                    if method == "finish" or self._given_up is not None:
                        return  # the restart has already sent the end of the run
                self._calls.add(getattr(self._sink, method).remote(*arguments))
        except ConnectionError:
            if not self._head.is_lost:
                raise
