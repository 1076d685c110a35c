"""FedRep: clients learn a shared representation, and each client learns a head of its own.

Clients share the body of the model, and each client keeps its own head, the last layers. A client first trains its
head with the received body, then the body with its new head.

Symbols: tau_h = algorithm.head_epochs, tau_phi = training.local_epochs.

Deviations: both phases pay for the gradients of the whole model, because the FLOPs of a partial backward pass are not
counted separately. A new optimiser starts with the second phase. Running statistics change in both phases. The
server's own head stays the initial one, so that `eval/` metrics do not describe the method.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    AlgorithmConfig,
    Batch,
    LocalRun,
    PersonalHeadAlgorithm,
    PersonalHeadConfig,
    PersonalPart,
    Traits,
)


class FedRepConfig(PersonalHeadConfig):
    """Options of FedRep."""

    head_epochs: int = Field(
        10, ge=0, description="tau_h, local epochs of the head, before the training.local_epochs of the body"
    )


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """The head after its phase, float32[H], which does not change while the body trains."""

    values: Tensor


@final
class FedRep(PersonalHeadAlgorithm):
    """FedPer with separate training of head and body."""

    Config: ClassVar[type[AlgorithmConfig]] = FedRepConfig
    config: FedRepConfig
    traits: ClassVar[Traits] = Traits(personal=True, citations=(references.FEDREP,))

    def on_train_start(self, run: LocalRun[PersonalPart]) -> None:
        """Train the head alone."""
        run.flat.module.train()
        num_trainable, head = self.setting.layout.num_trainable, self.head
        body = run.values[:num_trainable].clone()
        for epoch in run.batches("head", self.config.head_epochs):
            for batch in epoch:
                run.backward(batch)
                run.grad[: head.start] = 0
                run.apply_gradient()
                run.values[: head.start] = body[: head.start]
        run.reset_optimizer()
        run.put_scratch(TrainedHead(run.values[head].clone()))

    def step(self, run: LocalRun[PersonalPart], batch: Batch) -> None:
        """Train the body alone."""
        run.backward(batch)
        run.grad[self.head] = 0
        run.apply_gradient()
        run.values[self.head] = run.scratch(TrainedHead).values
