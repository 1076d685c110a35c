"""A method that does not keep what it says, as `tests.support.hurried:Hurried`."""

from typing import ClassVar, final

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun


@final
class Hurried(Algorithm[ServerState, None]):
    """FedAvg that promises to train on all of a client's samples, and trains on one batch."""

    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        if not run.flops.total:
            super().step(run, batch)
