"""The Ray actor around Shard."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.aggregation.shard import EncodedUpdate, FoldKey, Shard
from orchestrator.aggregation.slices import SliceAverage, SliceNumber
from orchestrator.aggregation.sums import Term
from orchestrator.execution.executor import TaskRequest
from orchestrator.execution.fault_injection import AggregatorFaultInjector
from orchestrator.federation.update import PayloadReport, RejectedPayload

if TYPE_CHECKING:
    from orchestrator.execution.ray_sharing import SharedExperiment


@dataclass(frozen=True, slots=True, eq=False)
class ShardTask:
    """Whose updates an aggregator adds, and which slice of them."""

    shared: "SharedExperiment"
    own: SliceNumber


@final
class ShardActor:
    """Adds slices of updates. Every call names its experiment and slice.

    A restarted actor has lost its sums, and `finish` then returns None.
    """

    def __init__(self) -> None:
        self._current: tuple[ShardTask, Shard, AggregatorFaultInjector] | None = None
        torch.set_num_threads(1)

    def check(
        self,
        task: ShardTask,
        broadcast: NDArray[np.uint8],
        request: TaskRequest,
        payload: NDArray[np.uint8],
    ) -> PayloadReport | RejectedPayload:
        """See Shard. The arrays are views of Ray's object store."""
        shard, _ = self._shard_of(task)
        return shard.check(EncodedUpdate(broadcast=broadcast, request=request, payload=payload))

    def add(
        self,
        task: ShardTask,
        key: FoldKey,
        place: int,
        broadcast: NDArray[np.uint8],
        request: TaskRequest,
        payload: NDArray[np.uint8],
        term: Term,
        present: NDArray[np.float32] | None,
    ) -> None:
        """See Shard."""
        shard, injector = self._shard_of(task)
        injector.strike(key.round_idx, key.attempt, place)
        encoded = EncodedUpdate(broadcast=broadcast, request=request, payload=payload)
        shard.add(key, place, encoded, term, present)

    def finish(
        self, task: ShardTask, key: FoldKey, num_updates: int, server: NDArray[np.float32]
    ) -> SliceAverage | None:
        """See Shard."""
        shard, _ = self._shard_of(task)
        return shard.finish(key, num_updates, server)

    def _shard_of(self, task: ShardTask) -> tuple[Shard, AggregatorFaultInjector]:
        current, own = self._current, task.own
        if current is None or current[0].shared.recipe != task.shared.recipe or current[0].own != own:
            self._current = None  # frees the old experiment before the new one is loaded
            experiment = task.shared.get()
            injector = AggregatorFaultInjector(experiment.config, own.number, own.count)
            self._current = current = task, Shard(experiment, own), injector
        return current[1], current[2]
