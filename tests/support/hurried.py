"""A method that does not keep what it says, as `tests.support.hurried:Hurried`."""

from typing import ClassVar, final

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.local import Batch, LocalRun


@final
class Hurried(Algorithm[ServerState, None]):
    """FedAvg that promises to train on all of a client's samples, and trains on one batch."""

    steady_cost: ClassVar[bool] = True

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        if not run.train_flops:
            super().step(run, batch)
