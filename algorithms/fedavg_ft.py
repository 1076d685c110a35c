"""FedAvg-FT: FedAvg whose clients are scored with a copy of the global model that each has trained further on its own
samples.

Rounds and global model are FedAvg's. The copies are deleted after they are scored.

Symbols: w = state.params, E = training.local_epochs.

Deviations: FedAvg-FT has no single source; published comparisons fine-tune once, after the last round. Here the
clients fine-tune a copy each time they are scored (`evaluation.personal_every`). As in DisPFL's code, fine-tuning
uses plain steps and a new optimiser at the learning rate of round 0. Fine-tuning keeps the mask of the received model.
The download of w and the FLOPs of fine-tuning belong to the evaluation and are not counted.
"""

from typing import ClassVar, final

from pydantic import Field

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
    fine_tune,
)


class FedAvgFTConfig(AlgorithmConfig):
    """Options of FedAvg-FT."""

    finetune_epochs: int | None = Field(
        None,
        ge=0,
        description="epochs of fine-tuning; None: training.local_epochs; 0: FedAvg",
    )


@final
class FedAvgFT(Algorithm[ServerState, None]):
    """FedAvg, personalised by fine-tuning."""

    Config: ClassVar[type[AlgorithmConfig]] = FedAvgFTConfig
    config: FedAvgFTConfig
    traits: ClassVar[Traits] = Traits(
        personal=True, citations=(references.FEDAVG,), baseline_of=(references.DISPFL,)
    )
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def personal(self, run: LocalRun[None]) -> None:
        """Load the global model and fine-tune it on the client's samples."""
        self.load(run)
        epochs = self.config.finetune_epochs
        fine_tune(run, self.setting.training.local_epochs if epochs is None else epochs)
