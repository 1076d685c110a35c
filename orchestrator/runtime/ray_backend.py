"""Run an experiment on Ray, with actors for driver, clients and tracker, and restart the driver when it is lost."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any, NoReturn, TypeVar, final

import ray

from orchestrator.commands import resume_line
from orchestrator.errors import ActorsLostError, ResourceError
from orchestrator.execution.ray_actors import (
    START_S,
    end_actors,
    end_named,
    get_unwrapped,
    once_free,
    this_node,
)
from orchestrator.execution.ray_calls import wait_with_checks
from orchestrator.execution.ray_sharing import share
from orchestrator.experiment.experiment import Experiment
from orchestrator.plugins.ray_checked_actor import actor_class
from orchestrator.runtime.driver_actor import ROUNDS, DriverActor
from orchestrator.runtime.ray_head_monitor import CHECK_INTERVAL_S, HeadMonitor
from orchestrator.runtime.ray_tracker import RayTracker
from orchestrator.runtime.ray_workers import start_workers
from orchestrator.runtime.restart_counter import RestartCounter
from orchestrator.runtime.run_folder import mention_ray_log
from orchestrator.storage.event_log import num_committed
from orchestrator.tracking.record import RoundRecord, read_records
from orchestrator.tracking.tracker import NullTracker, Tracker

#: seconds after which a run says that it still waits for its client actors
_SLOW_START_S = 60.0
_LOG = logging.getLogger(__name__)
T = TypeVar("T")


@final
class RayBackend:
    """Runs driver, clients and tracker as actors of the connected cluster (see Backend).

    The backend restarts a driver that dies, or that loses client actors for good. The new driver resumes from the
    last checkpoint and places the clients on the resources that the cluster then has. At the fourth consecutive loss
    without a new checkpoint the backend raises ActorsLostError.
    """

    def __init__(
        self, experiment: Experiment, run_dir: Path, note: Callable[[str], None] = _LOG.warning
    ) -> None:
        """`note` reports each restart of the driver. Raises the error that prevents the first start."""
        self._tracked, self._run_dir, self._note = experiment.config.tracking.enabled, run_dir, note
        self._experiment = experiment
        self._shared = share(experiment)
        self._stopping, self._losses = Event(), RestartCounter()
        self._head = HeadMonitor(experiment.config.runtime.address)
        self._start()

    @property
    def _run_id(self) -> str:
        return self._run_dir.name

    @property
    def _resume_command(self) -> str:
        return resume_line(self._run_dir)

    def _start(self) -> None:
        with self._checking_head():
            self._driver = driver = _driver_actor(self._run_id)
            try:
                workers = start_workers(self._experiment, self._run_id)
                opening = driver.open.remote(self._shared, str(self._run_dir), workers)
                self.description: str = get_unwrapped(opening)
            except BaseException:
                if self._head.responds():
                    self._end_actors()
                raise

    def tracker(self) -> Tracker:
        """See Backend."""
        return RayTracker(self._run_id, self._head, self._note) if self._tracked else NullTracker()

    def ready(self) -> None:
        """See Backend."""
        line = f"the client actors have not started after {_SLOW_START_S:g} s, the run still waits for them"
        self._with_restarts(lambda: self._get(self._call("ready"), slow=lambda: self._note(line)))

    def records(self) -> Iterator[RoundRecord]:
        """See Backend. Committed rounds that a lost driver did not report are read from the run's folder."""
        num_reported = len(read_records(self._run_dir / "metrics.jsonl"))
        while True:
            try:
                for record in self._driver_records():
                    num_reported = record.round_idx + 1
                    yield record
                return
            except ActorsLostError as error:
                self._restart(error)
            for record in read_records(self._run_dir / "metrics.jsonl", num_reported):
                num_reported = record.round_idx + 1
                yield record

    def _driver_records(self) -> Iterator[RoundRecord]:
        """Yield the records of this driver. One call is always queued, so that the driver does not wait for it."""
        calls = deque(self._call("advance") for _ in range(2))
        while (record := self._get(calls.popleft())) is not None:
            calls.append(self._call("advance"))
            yield record
        # Ray reports a crash if an actor is ended during a call, so the queued calls must return first.
        with suppress(ActorsLostError):
            for call in calls:
                self._get(call)

    def _call(self, method: str, *arguments: object) -> ray.ObjectRef[Any]:
        with self._checking_head():
            ref: ray.ObjectRef[Any] = getattr(self._driver, method).remote(*arguments)
            return ref

    def _get(self, ref: ray.ObjectRef[Any], slow: Callable[[], None] = lambda: None) -> Any:
        """Wait for the result of a driver call; call `slow` once if this takes long.

        Raises ActorsLostError when the head is lost meanwhile.
        """

        def check() -> None:
            if self._head.is_unreachable() or (self._stopping.is_set() and not self._head.responds()):
                self._give_up()

        with self._checking_head():
            wait_with_checks(ref, check, every_s=CHECK_INTERVAL_S, slow_s=_SLOW_START_S, slow=slow)
            return get_unwrapped(ref)

    @contextmanager
    def _checking_head(self) -> Iterator[None]:
        """Raise ActorsLostError when the head is lost before the block, or the block fails because of its loss."""
        if self._head.is_lost or self._head.is_unreachable():
            self._give_up()
        try:
            with self._head.detecting_loss():
                yield
        except ConnectionError as error:
            if not self._head.is_lost:
                raise
            self._give_up(error)

    def _give_up(self, error: Exception | None = None) -> NoReturn:
        """Raise ActorsLostError for the lost head. Actors need no cleanup, because they end with the head."""
        self._head.is_lost = True
        if not self._head.uses_client:
            with suppress(Exception):  # the connection to the driver may be broken in any way
                self._driver.stop.remote()
        raise ActorsLostError(self._head.loss_message(self._resume_command)) from error

    def _with_restarts(self, call: Callable[[], T]) -> T:
        """Return the result of a driver call; restart the driver and retry when it dies during the call."""
        while True:
            try:
                return call()
            except ActorsLostError as error:
                self._restart(error)

    def _restart(self, error: ActorsLostError) -> None:
        if self._head.is_lost or self._stopping.is_set():
            raise error
        if not self._head.responds():
            self._give_up(error)
        if not self._losses.record_loss(num_committed(self._run_dir)):
            raise ActorsLostError(
                f"{error}, {self._losses.num_losses} times without a new checkpoint; resume the run with "
                f"`{self._resume_command}`"
            ) from error
        self._note(f"{error}; restarting from the last checkpoint{mention_ray_log(self._run_dir)}")
        with self._checking_head():
            self._end_actors()
        try:
            self._start()
            self._get(self._call("ready", START_S))
        except ActorsLostError as next_error:
            return self._restart(next_error)
        except ResourceError as shortage:
            raise ActorsLostError(
                f"{error}, and the clients do not fit on the remaining cluster ({shortage}); add nodes, then "
                f"`{self._resume_command}` resumes the run"
            ) from shortage
        self._note(self.description)
        if self._stopping.is_set():  # the signal came during the restart
            self.stop()

    def stop(self) -> None:
        """See Backend."""
        self._stopping.set()
        if self._head.is_lost:
            return
        with suppress(ConnectionError), self._head.detecting_loss():
            self._driver.stop.remote()

    def params_sha256(self) -> str:
        """See Backend."""
        digest: str = self._with_restarts(lambda: self._get(self._call("params_sha256")))
        return digest

    def close(self) -> None:
        """See Backend."""
        if self._head.is_lost:
            return
        try:
            with self._head.detecting_loss():
                self._end_actors()
        except (ConnectionError, ray.exceptions.RayError):
            _LOG.debug("Ray ends the remaining actors of the run", exc_info=True)

    def _end_actors(self) -> None:
        """End the driver, also a dead one, because its handle keeps the actor's name in use; then the other actors.

        The driver ends first, because it would report the ended clients as failures.
        """
        end_actors([self._driver])
        end_named(f"{self._run_id}/", but=f"{self._run_id}/tracker")


def _driver_actor(run_id: str) -> Any:
    """Start a run's driver actor on the node of the command; `stop` can be called while the driver runs rounds."""
    driver_class = actor_class(DriverActor, concurrency_groups={ROUNDS: 1})
    placed = driver_class.options(name=f"{run_id}/driver", num_cpus=0, scheduling_strategy=this_node())
    return once_free(placed.remote)
