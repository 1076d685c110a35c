"""FedAvg-FT: FedAvg (McMahan et al., AISTATS 2017, arXiv 1602.05629, https://arxiv.org/abs/1602.05629) whose
clients are scored with a copy of the global model that each has trained further on its own samples.

Rounds and global model are FedAvg's; the copies live only as long as it takes to score them.

Symbols: w = state.params, E = training.local_epochs.

Deviations: there is no one source; published comparisons fine-tune once, after the last round. Here the copies are
made whenever clients are scored (`evaluation.personal_every`). They are trained with plain steps and a fresh
optimiser at the learning rate of round 0, as the public code of DisPFL (arXiv 2206.00187) does, under the mask of
the model received where there is one. The download of w and the FLOPs that fine-tuning takes are part of the
evaluation and are not counted.
"""

from typing import ClassVar, final

from pydantic import Field

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
        description="epochs that a client's copy is trained for; None: training.local_epochs; 0: FedAvg",
    )


@final
class FedAvgFT(Algorithm[ServerState, None]):
    """FedAvg, personalised by fine-tuning."""

    Config: ClassVar[type[AlgorithmConfig]] = FedAvgFTConfig
    config: FedAvgFTConfig
    traits: ClassVar[Traits] = Traits(personal=True, source="baseline of arXiv 2206.00187")
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def personal(self, run: LocalRun[None]) -> None:
        """The global model, trained further on the client's samples."""
        self.load(run)
        epochs = self.config.finetune_epochs
        fine_tune(run, self.setting.training.local_epochs if epochs is None else epochs)
