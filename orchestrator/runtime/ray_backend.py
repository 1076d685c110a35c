"""A run on Ray: a driver actor, its client actors and a tracker actor, kept going through losses."""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar, final

import ray

from orchestrator.errors import ActorsLostError, ResourceError
from orchestrator.execution.ray_actors import (
    START_S,
    end_actors,
    end_named,
    get_unwrapped,
    once_free,
    this_node,
)
from orchestrator.execution.ray_sharing import share
from orchestrator.experiment.experiment import Experiment
from orchestrator.runtime.driver_actor import ROUNDS, DriverActor
from orchestrator.runtime.ray_head_monitor import EVERY_S, Head
from orchestrator.runtime.ray_tracker import RayTracker
from orchestrator.runtime.restart_counter import RestartCounter
from orchestrator.storage.event_log import num_committed
from orchestrator.tracking.record import RoundRecord, read_records
from orchestrator.tracking.tracker import NullTracker, Tracker

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


@final
class RayBackend:
    """Driver, clients and tracker as actors of the connected cluster.

    A driver that is lost, or that lost client actors for good, is started again from the last commit, with the
    clients placed anew on what the cluster then has; at the fourth loss without a commit in between it gives up.
    """

    def __init__(
        self, experiment: Experiment, run_dir: Path, note: Callable[[str], None] = _LOG.warning
    ) -> None:
        """`note` is told when the driver has to be started again. Raises what keeps it from starting now."""
        self._tracked, self._run_dir, self._note = experiment.config.tracking.enabled, run_dir, note
        self._shared = share(experiment)
        self._stopping, self._losses = False, RestartCounter()
        self._head = Head(experiment.config.runtime.address)
        self._start()

    @property
    def _run_id(self) -> str:
        return self._run_dir.name

    def _start(self) -> None:
        with self._minding_the_head():
            self._driver = driver = _driver_actor(self._run_id)
            try:
                self.description: str = get_unwrapped(driver.open.remote(self._shared, str(self._run_dir)))
            except BaseException:
                if self._head.answers():
                    end_actors([driver])
                raise

    def tracker(self) -> Tracker:
        """See Backend."""
        return RayTracker(self._run_id, self._head) if self._tracked else NullTracker()

    def ready(self) -> None:
        """See Backend."""
        self._insist(lambda: self._get(self._asked("ready")))

    def records(self) -> Iterator[RoundRecord]:
        """See Backend. Committed rounds that a lost driver could not report any more are read from the run's folder."""
        num_reported = len(read_records(self._run_dir / "metrics.jsonl"))
        while True:
            try:
                for record in self._advancing():
                    num_reported = record.round_idx + 1
                    yield record
                return
            except ActorsLostError as error:
                self._restart(error)
            for record in read_records(self._run_dir / "metrics.jsonl", num_reported):
                num_reported = record.round_idx + 1
                yield record

    def _advancing(self) -> Iterator[RoundRecord]:
        """Each record of this driver. One call is always ahead, so that it need not wait for this process."""
        calls = deque(self._asked("advance") for _ in range(2))
        while (record := self._get(calls.popleft())) is not None:
            calls.append(self._asked("advance"))
            yield record
        with suppress(ActorsLostError):
            for (
                call
            ) in calls:  # one that is at work when its actor is ended looks like a crash, and Ray says so
                self._get(call)

    def _asked(self, method: str, *arguments: object) -> ray.ObjectRef[Any]:
        with self._minding_the_head():
            ref: ray.ObjectRef[Any] = getattr(self._driver, method).remote(*arguments)
            return ref

    def _get(self, ref: ray.ObjectRef[Any]) -> Any:
        """What the driver answers, for as long as the cluster has its head."""
        with self._minding_the_head():
            while not ray.wait([ref], timeout=EVERY_S)[0]:
                if self._head.is_away():
                    self._give_up()
            return get_unwrapped(ref)

    @contextmanager
    def _minding_the_head(self) -> Iterator[None]:
        """Nothing is asked of Ray when the head is known to be lost; a block that fails of its loss says so."""
        if self._head.is_lost or self._head.is_away():
            self._give_up()
        try:
            with self._head.noticing():
                yield
        except ConnectionError as error:
            if not self._head.is_lost:
                raise
            self._give_up(error)

    def _give_up(self, error: Exception | None = None) -> NoReturn:
        """Leave everything as it is: what the head should end ends with it."""
        self._head.is_lost = True
        if not self._head.through_client:
            with suppress(Exception):  # whatever kind of connection is left, if any
                self._driver.stop.remote()
        raise ActorsLostError(self._head.loss(f"sparsefleet resume {self._run_dir}")) from error

    def _insist(self, call: Callable[[], T]) -> T:
        """What a call of the driver gives, which is started again where it dies meanwhile."""
        while True:
            try:
                return call()
            except ActorsLostError as error:
                self._restart(error)

    def _restart(self, error: ActorsLostError) -> None:
        if self._head.is_lost:
            raise error
        if not self._head.answers():
            self._give_up(error)
        if not self._losses.one_more(num_committed(self._run_dir)):
            raise ActorsLostError(
                f"{error}, {self._losses.in_a_row} times without a commit; `sparsefleet resume {self._run_dir}` goes on"
            ) from error
        self._note(f"{error}; going on from the last commit")
        with self._minding_the_head():
            end_actors([self._driver])  # also where it is dead: this process holds on to its name until told
            end_named(f"{self._run_id}/", but=f"{self._run_id}/tracker")
        try:
            self._start()
            self._get(self._asked("ready", START_S))
        except ActorsLostError as again:
            return self._restart(again)
        except ResourceError as lack:
            raise ActorsLostError(
                f"{error}, and what the cluster has left does not hold the clients ({lack}); "
                f"`sparsefleet resume {self._run_dir}` goes on once it does"
            ) from lack
        self._note(self.description)
        if self._stopping:
            self.stop()

    def stop(self) -> None:
        """See Backend."""
        self._stopping = True
        if self._head.is_lost:
            return
        with suppress(ConnectionError), self._head.noticing():
            self._driver.stop.remote()

    def params_sha256(self) -> str:
        """See Backend."""
        digest: str = self._insist(lambda: self._get(self._asked("params_sha256")))
        return digest

    def close(self) -> None:
        """See Backend."""
        if self._head.is_lost:
            return
        try:
            with self._head.noticing():
                end_actors([self._driver])  # first, so that it takes no dying client for one that failed
                end_named(f"{self._run_id}/", but=f"{self._run_id}/tracker")
        except (ConnectionError, ray.exceptions.RayError):
            _LOG.debug("what is left of the run ends with Ray", exc_info=True)


def _driver_actor(run_id: str) -> Any:
    """A run's driver, on the node where the command runs; it can be asked to stop while it runs rounds."""
    actor_class = ray.remote(concurrency_groups={ROUNDS: 1})(DriverActor)  # type: ignore[call-overload]
    placed = actor_class.options(name=f"{run_id}/driver", num_cpus=0, scheduling_strategy=this_node())
    return once_free(placed.remote)
