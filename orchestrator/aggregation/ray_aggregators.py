"""Aggregators on Ray: actors that check and add the updates, whose encoded payloads stay in the object store.

The driver sends references to all aggregators in the order in which updates count. It keeps these references until a
phase has finished, so that an aggregator that died can add its slice again. If the updates of a phase need more than a
quarter of the object store, the driver forgets the oldest; after a loss it then restarts from the last checkpoint.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np
import ray
from torch import Tensor

from orchestrator.aggregation.received_update import Content
from orchestrator.aggregation.shard import FoldKey
from orchestrator.aggregation.shard_actor import ShardActor, ShardTask
from orchestrator.aggregation.shard_placement import AGGREGATOR_CPUS, memory_bytes
from orchestrator.aggregation.slices import SliceAverage, SliceNumber, join_averages
from orchestrator.aggregation.sums import Term
from orchestrator.errors import ActorsLostError, one_line
from orchestrator.execution.executor import TaskRequest
from orchestrator.execution.ray_actors import once_free
from orchestrator.execution.ray_sharing import SharedExperiment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.update import ClientUpdate, PayloadReport, RejectedPayload, StoredUpdate
from orchestrator.plugins.ray_checked_actor import actor_class

#: updates that an aggregator may have to add, so that the driver does not run far ahead
_MAX_PENDING = 8
#: share of the cluster's object store that the updates of a phase may use after they were added
_KEPT_SHARE = 0.25
#: consecutive losses of an aggregator after which the driver gives up the round
_MAX_LOSSES = 4
#: Ray's errors for a lost aggregator, and for a lost object
_ACTOR_LOST, _OBJECT_LOST = ray.exceptions.RayActorError, ray.exceptions.ObjectLostError


def start_aggregators(experiment: Experiment, count: int, prefix: str) -> list[Any]:
    """Start `count` aggregators, named `<prefix>/aggregator-<number>`, without waiting for them.

    Ray spreads them over the nodes and restarts a dead one.
    """
    aggregator_class = actor_class(ShardActor)
    actors = []
    for number in range(count):
        placed = aggregator_class.options(
            name=f"{prefix}/aggregator-{number}",
            num_cpus=AGGREGATOR_CPUS,
            memory=memory_bytes(experiment, count),
            max_restarts=-1,
            max_task_retries=-1,  # calls without an option of their own wait while Ray restarts the actor
            scheduling_strategy="SPREAD",
        )
        actors.append(once_free(placed.remote))
    return actors


@dataclass(frozen=True, slots=True, eq=False)
class _EncodedRefs:
    """References to the arguments with which an aggregator decodes an update."""

    broadcast: ray.ObjectRef[Any]
    request: ray.ObjectRef[TaskRequest]
    payload: ray.ObjectRef[Any]


@dataclass(frozen=True, slots=True, eq=False)
class _Addition:
    """An update that counts, at its place in the order."""

    encoded: _EncodedRefs
    term: Term
    present: ray.ObjectRef[Any] | None


@final
class RayAggregators:
    """See Aggregators. The caller starts and ends the actors."""

    def __init__(self, experiment: Experiment, shared: SharedExperiment, actors: Sequence[Any]) -> None:
        self.actors = tuple(actors)
        self.tasks = [ShardTask(shared, SliceNumber(number, len(actors))) for number in range(len(actors))]
        self._size = experiment.setting.layout.size
        self._restart_timeout_s = experiment.config.runtime.restart_timeout_s
        self._num_checks = self._num_folds = 0
        #: number of an aggregator that died in this phase -> the first error by which the driver noticed
        self.losses: dict[int, str] = {}
        store_bytes = ray.cluster_resources().get("object_store_memory", 0.0)  # type: ignore[no-untyped-call]
        self.max_kept_bytes = int(_KEPT_SHARE * store_bytes)

    def store(
        self,
        broadcast: ray.ObjectRef[Any],
        request: TaskRequest,
        update: ClientUpdate[Any],
        payload: ray.ObjectRef[Any],
    ) -> StoredUpdate[Any]:
        """Start the check of an update that has arrived; `payload` refers to its encoded payload.

        The aggregators check the updates in turn.
        """
        encoded = _EncodedRefs(broadcast, ray.put(request), payload)
        number = self._num_checks % len(self.actors)
        self._num_checks += 1
        return StoredUpdate(update=update, encoded=encoded, report=_Check(self, number, encoded).report)

    def sums(self, round_idx: int) -> "_RaySums":
        """See Aggregators."""
        self._num_folds += 1
        return _RaySums(self, FoldKey(round_idx, self._num_folds, 0), self._size)

    def await_restart(self, number: int, cause: Exception) -> None:
        """Wait until Ray has restarted an aggregator. Raises ActorsLostError if this takes too long."""
        line = f"aggregator {number} died, and adds its slice again: {one_line(cause)}"
        self.losses.setdefault(number, line)
        try:
            ray.get(self.actors[number].__ray_ready__.remote(), timeout=self._restart_timeout_s)
        except (ray.exceptions.GetTimeoutError, _ACTOR_LOST) as error:
            raise ActorsLostError(
                f"aggregator {number} was lost, and Ray has not restarted it within "
                f"runtime.restart_timeout_s={self._restart_timeout_s:g}"
            ) from error


@final
class _Check:
    """The check of a payload by one aggregator."""

    def __init__(self, aggregators: RayAggregators, number: int, encoded: _EncodedRefs) -> None:
        self._aggregators, self._number, self._encoded = aggregators, number, encoded
        self._report: PayloadReport | RejectedPayload | None = None
        self._start()

    def report(self) -> PayloadReport | RejectedPayload:
        """Wait for the result, also if the aggregator dies and checks again. Raises ActorsLostError."""
        num_losses = 0
        while self._report is None:
            try:
                self._report = ray.get(self._pending)
            except _OBJECT_LOST as error:
                cause = f"{type(error).__name__}: {one_line(error)}"
                self._report = RejectedPayload(stage="actor", cause=cause)
            except _ACTOR_LOST as error:
                num_losses += 1
                if num_losses == _MAX_LOSSES:
                    raise _lost(self._number, error) from error
                self._aggregators.await_restart(self._number, error)
                self._start()
        return self._report

    def _start(self) -> None:
        check = self._aggregators.actors[self._number].check.options(max_task_retries=0)
        encoded = self._encoded
        task = self._aggregators.tasks[self._number]
        self._pending = check.remote(task, encoded.broadcast, encoded.request, encoded.payload)


@final
class _RaySums:
    """See Sums. Every aggregator adds its slice of every update."""

    def __init__(self, aggregators: RayAggregators, key: FoldKey, size: int) -> None:
        self._aggregators, self._key, self._size = aggregators, key, size
        self._actors = aggregators.actors
        self._additions: list[_Addition | None] = []
        self._kept: deque[tuple[int, int]] = deque()
        self._kept_bytes = 0
        self._pending: list[list[ray.ObjectRef[None]]] = [[] for _ in self._actors]
        self._present: ray.ObjectRef[Any] | None = None

    def add(self, content: Content, term: Term, present: Tensor | None) -> None:
        """See Sums. Does not wait for the aggregators, unless they are far behind."""
        assert isinstance(content, StoredUpdate), "aggregators add stored updates only"
        if present is not None and self._present is None:
            self._present = ray.put(present.numpy())
        addition = _Addition(content.encoded, term, None if present is None else self._present)
        self._additions.append(addition)
        for number in range(len(self._actors)):
            self._send(number, self._key, addition, len(self._additions) - 1)
        report = content.report()
        assert isinstance(report, PayloadReport), "rejected updates are not added"
        self._kept.append((len(self._additions) - 1, report.upload_bytes))
        self._kept_bytes += report.upload_bytes
        self._release()

    def finish(self, server: Tensor) -> Aggregate:
        """See Sums. An aggregator that died adds all updates again. Raises ActorsLostError."""
        slices = [SliceNumber(number, len(self._actors)) for number in range(len(self._actors))]
        parts = [server.numpy()[slice(*own.bounds(self._size))] for own in slices]
        pending = [self._finish(own.number, self._key, parts[own.number]) for own in slices]
        fetches = [partial(self._fetch, own.number, pending[own.number], parts[own.number]) for own in slices]
        return join_averages(fetches, self._size)

    def losses(self) -> Sequence[str]:
        """See Sums."""
        losses, self._aggregators.losses = self._aggregators.losses, {}
        return tuple(losses.values())

    def _release(self) -> None:
        """Forget the oldest updates if the object store would otherwise be full of updates that were added."""
        while self._kept_bytes > self._aggregators.max_kept_bytes:
            place, num_bytes = self._kept.popleft()
            self._additions[place] = None
            self._kept_bytes -= num_bytes

    def _send(self, number: int, key: FoldKey, addition: _Addition, place: int) -> None:
        pending = self._pending[number]
        if len(pending) >= _MAX_PENDING:
            ray.wait([pending[-_MAX_PENDING]], num_returns=1)
        encoded = addition.encoded
        add = self._actors[number].add.options(max_task_retries=0)
        pending.append(
            add.remote(
                self._aggregators.tasks[number],
                key,
                place,
                encoded.broadcast,
                encoded.request,
                encoded.payload,
                addition.term,
                addition.present,
            )
        )

    def _finish(
        self, number: int, key: FoldKey, server: np.ndarray[tuple[int], np.dtype[np.float32]]
    ) -> ray.ObjectRef[SliceAverage | None]:
        finish = self._actors[number].finish.options(max_task_retries=0)
        ref: ray.ObjectRef[SliceAverage | None] = finish.remote(
            self._aggregators.tasks[number], key, len(self._additions), server
        )
        return ref

    def _fetch(
        self,
        number: int,
        pending: ray.ObjectRef[SliceAverage | None],
        server: np.ndarray[tuple[int], np.dtype[np.float32]],
    ) -> SliceAverage:
        """Wait for the average of a slice; after a loss, let the aggregator add all updates again."""
        key = self._key
        for _ in range(_MAX_LOSSES):
            cause: Exception
            try:
                average = ray.get(pending)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except (_ACTOR_LOST, _OBJECT_LOST) as error:
                cause = error
            else:
                if average is not None:
                    return average
                cause = self._failure(number)
            self._aggregators.await_restart(number, cause)
            key = replace(key, attempt=key.attempt + 1)
            self._pending[number] = []
            for place, addition in enumerate(self._additions):
                if addition is None:
                    raise ActorsLostError(
                        f"aggregator {number} died, and the first updates of round {key.round_idx} are no longer in "
                        "Ray's object store"
                    ) from cause
                self._send(number, key, addition, place)
            pending = self._finish(number, key, server)
        raise _lost(number, cause) from cause

    def _failure(self, number: int) -> Exception:
        """Why an aggregator has not added all updates. Raises the error of the code that added them, if it failed."""
        for ref in self._pending[number]:
            try:
                ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                return error
        return ActorsLostError(f"aggregator {number} restarted")


def _lost(number: int, cause: Exception) -> ActorsLostError:
    return ActorsLostError(
        f"aggregator {number} failed {_MAX_LOSSES} times in a row, the last time with {one_line(cause)}"
    )
