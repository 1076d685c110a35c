"""A method that breaks its `steady_cost` declaration; tests name it `tests.support.one_batch:OneBatch`."""

from typing import ClassVar, final

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun


@final
class OneBatch(Algorithm[ServerState, None]):
    """FedAvg that declares the cost of training on all samples of a client, but trains on one batch."""

    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        if not run.flops.total:
            super().step(run, batch)
