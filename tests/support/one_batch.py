"""A method that breaks its `steady_cost` declaration; tests name it `tests.support.one_batch:OneBatch`."""

from typing import ClassVar, final

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.local import Batch, LocalRun


@final
class OneBatch(Algorithm[ServerState, None]):
    """FedAvg that declares the cost of training on all samples of a client, but trains on one batch."""

    steady_cost: ClassVar[bool] = True

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        if not run.train_flops:
            super().step(run, batch)
