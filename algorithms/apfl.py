"""APFL: each client mixes a personal model with the global model, and can learn the share of each.

FedAvg with a personal model v_k on each client. The client uses the mixture m = alpha v_k + (1 - alpha) w. Every step
trains w as FedAvg does, and takes v_k <- v_k - eta alpha grad f_k(m) on the same batch. With `adaptive`, the first
step of a task takes alpha <- alpha - eta <grad f_k(m), v_k - w>, limited to [0, 1].

Symbols: v_k = client_state.personal, alpha = client_state.alpha, w = run.values, eta = training.lr.

Deviations: v_k takes plain SGD steps whatever optimiser w has. As in the public code, alpha changes once in a task;
that code adds 0.02 alpha to its gradient, which is not in the paper and not here. The mixture has the running
statistics of w. A client that has not participated has v_k = w_0.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    Batch,
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
)


class APFLConfig(AlgorithmConfig):
    """Options of APFL."""

    alpha: float = Field(0.5, ge=0.0, le=1.0, description="initial share of the personal model; 0: FedAvg")
    adaptive: bool = Field(True, description="let every client learn its own alpha")


@dataclass(frozen=True, kw_only=True, eq=False)
class APFLClient:
    """State of a client: the personal model v_k, float32[T], and its share alpha in [0, 1]."""

    personal: Tensor
    alpha: float


@dataclass(eq=False)
class Mixture:
    """v_k float32[T] and alpha during a task; `is_new` until the first step is done."""

    personal: Tensor
    alpha: float
    is_new: bool = True


@final
class APFL(Algorithm[ServerState, APFLClient]):
    """FedAvg whose clients mix the global model with a personal one."""

    Config: ClassVar[type[AlgorithmConfig]] = APFLConfig
    config: APFLConfig
    traits: ClassVar[Traits] = Traits(personal=True, citations=(references.APFL,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def init_client(self, client_id: int) -> APFLClient:
        """v_k starts at w_0."""
        initial = torch.from_numpy(self.setting.initial[: self.setting.layout.num_trainable].copy())
        return APFLClient(personal=initial, alpha=self.config.alpha)

    def on_train_start(self, run: LocalRun[APFLClient]) -> None:
        """Copy v_k and alpha, which the steps change."""
        run.put_scratch(Mixture(run.state.personal.to(run.values.device, copy=True), run.state.alpha))

    def step(self, run: LocalRun[APFLClient], batch: Batch) -> None:
        """Step v_k and alpha along the gradient at the mixture, then w along its own."""
        mixture, trained = run.scratch(Mixture), run.values[: run.grad.numel()]
        local = trained.clone()
        trained.lerp_(mixture.personal, mixture.alpha)
        gradient = run.dense_gradient(batch)
        trained.copy_(local)
        rate, share = self.setting.training.lr_at(run.task.round_idx), mixture.alpha
        if self.config.adaptive and mixture.is_new:
            slope = float(torch.dot(gradient, mixture.personal - local))
            mixture.alpha = min(1.0, max(0.0, share - rate * slope))
        mixture.is_new = False
        mixture.personal.sub_(gradient, alpha=rate * share)
        super().step(run, batch)

    def after_train(self, run: LocalRun[APFLClient]) -> None:
        """Keep v_k and alpha."""
        mixture = run.scratch(Mixture)
        run.state = APFLClient(personal=mixture.personal.cpu().clone(), alpha=mixture.alpha)

    def personal(self, run: LocalRun[APFLClient]) -> None:
        """Load the mixture of v_k and the received model."""
        self.load(run)
        personal = run.state.personal.to(run.values.device)
        run.values[: run.grad.numel()].lerp_(personal, run.state.alpha)
