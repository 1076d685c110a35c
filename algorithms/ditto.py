"""Ditto: each client also trains a personal model that stays close to the global model.

FedAvg with a personal model v_k on each client, which minimises f_k(v) + (lambda / 2) ||v - w_r||^2 around the received
global model w_r. Clients and server exchange the same messages as in FedAvg.

Symbols: w_r = run.start, v_k = client_state.personal, lambda = algorithm.lam, eta = training.lr.

Deviations:

- The pull lambda (v - w_r) is added to the gradient, as in FedProx. Momentum, clipping and weight decay therefore act
  on the sum. The public code of DisPFL applies the pull after the optimiser's step.
- The personal pass takes epochs, and lambda is the same for all clients. The official code takes two local iterations,
  and can choose lambda for each client from its validation loss.
- v_k starts at w_0. A client that is scored before its first participation uses w_0.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
)


class DittoConfig(AlgorithmConfig):
    """Options of Ditto."""

    lam: float = Field(
        1.0, ge=0.0, description="lambda, pull of the personal model to the global model; 0: local training"
    )
    personal_epochs: int | None = Field(
        None, ge=1, description="epochs of the personal pass; None: training.local_epochs"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class DittoClient:
    """State of a client: the personal model v_k, float32[D]."""

    personal: Tensor


@final
class Ditto(Algorithm[ServerState, DittoClient]):
    """FedAvg with personal models that a penalty pulls to the global model."""

    Config: ClassVar[type[AlgorithmConfig]] = DittoConfig
    config: DittoConfig
    traits: ClassVar[Traits] = Traits(
        personal=True, citations=(references.DITTO,), related=(references.DISPFL,)
    )
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def init_client(self, client_id: int) -> DittoClient:
        """v_k starts at w_0."""
        return DittoClient(personal=torch.from_numpy(self.setting.initial.copy()))

    def after_train(self, run: LocalRun[DittoClient]) -> None:
        """Train v_k on separate batches, then load the model that FedAvg uploads again."""
        uploaded = run.values.detach().clone()
        run.load(run.state.personal, run.mask)
        run.reset_optimizer()
        for epoch in run.batches("personal", self.config.personal_epochs):
            for batch in epoch:
                run.backward(batch)
                run.add_proximal_gradient(self.config.lam)
                run.apply_gradient()
        run.state = replace(run.state, personal=run.values.detach().cpu().clone())
        run.load(uploaded, run.mask)

    def personal(self, run: LocalRun[DittoClient]) -> None:
        """Load v_k under the received mask."""
        assert run.received is not None
        run.load(run.state.personal, run.received.mask)
