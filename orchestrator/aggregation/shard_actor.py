"""The Ray actor around Shard."""

from functools import cached_property
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
from orchestrator.plugins.package_source import PackageSource, require_same_source

if TYPE_CHECKING:
    from orchestrator.execution.ray_sharing import SharedExperiment


@final
class ShardActor:
    """Owns one slice of the model in a run. A restarted actor has lost its sums, and `finish` then returns None."""

    def __init__(self, shared: "SharedExperiment", own: SliceNumber) -> None:
        self._shared, self._own = shared, own
        torch.set_num_threads(1)

    def check_source(self, expected: PackageSource) -> None:
        """Raise ClusterError if this process imports other source of the package than the expected one."""
        require_same_source(expected)

    def check(
        self, broadcast: NDArray[np.uint8], request: TaskRequest, payload: NDArray[np.uint8]
    ) -> PayloadReport | RejectedPayload:
        """See Shard. The arrays are views of Ray's object store."""
        return self._shard.check(EncodedUpdate(broadcast=broadcast, request=request, payload=payload))

    def add(
        self,
        key: FoldKey,
        place: int,
        broadcast: NDArray[np.uint8],
        request: TaskRequest,
        payload: NDArray[np.uint8],
        term: Term,
        present: NDArray[np.float32] | None,
    ) -> None:
        """See Shard."""
        self._injector.strike(key.round_idx, key.attempt)
        encoded = EncodedUpdate(broadcast=broadcast, request=request, payload=payload)
        self._shard.add(key, place, encoded, term, present)

    def finish(self, key: FoldKey, num_updates: int, server: NDArray[np.float32]) -> SliceAverage | None:
        """See Shard."""
        return self._shard.finish(key, num_updates, server)

    @cached_property
    def _shard(self) -> Shard:
        return Shard(self._shared.get(), self._own)

    @cached_property
    def _injector(self) -> AggregatorFaultInjector:
        return AggregatorFaultInjector(self._shared.get().config, self._own.number, self._own.count)
