"""pFedMe: each client learns a personal model through the Moreau envelope of its loss.

Each client minimises the Moreau envelope of its loss. For every mini-batch the personal model theta_k takes K steps
towards the minimum of f_k(theta) + (lambda / 2) ||theta - w||^2, and then w <- w - eta lambda (w - theta_k). The server
takes w <- (1 - beta) w + beta mean(w_k) with equal weights.

Symbols: theta_k = client_state.personal, lambda = algorithm.lam, K = algorithm.personal_steps,
beta = algorithm.server_lr, eta = training.lr.

Deviations: theta_k starts a task at the received model. It keeps its values from one batch to the next, as in the
public code. The step of w is a step of the configured optimiser. A client that has not participated has theta_k = w_0.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Batch,
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
)


class PFedMeConfig(AlgorithmConfig):
    """Options of pFedMe."""

    lam: float = Field(15.0, gt=0.0, description="lambda, pull of the personal model to the local model w")
    personal_steps: int = Field(5, ge=1, description="K, gradient steps of the personal model for each batch")
    personal_lr: float = Field(0.01, gt=0.0, description="learning rate of the personal model")
    server_lr: float = Field(1.0, gt=0.0, description="beta, the server's step towards the mean; 1: the mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class PFedMeClient:
    """State of a client: theta_k, float32[D]."""

    personal: Tensor


@dataclass(frozen=True, eq=False)
class PersonalModel:
    """theta_k during a task, float32[T], changed in place."""

    values: Tensor


@final
class PFedMe(Algorithm[ServerState, PFedMeClient]):
    """FedAvg over Moreau envelopes, with a personal model for each client."""

    Config: ClassVar[type[AlgorithmConfig]] = PFedMeConfig
    config: PFedMeConfig
    traits: ClassVar[Traits] = Traits(personal=True, citations=(references.PFEDME,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def init_client(self, client_id: int) -> PFedMeClient:
        """theta_k starts at w_0."""
        return PFedMeClient(personal=torch.from_numpy(self.setting.initial.copy()))

    def weight(self, num_examples: int) -> float:
        """All participants count equally."""
        return 1.0

    def on_train_start(self, run: LocalRun[PFedMeClient]) -> None:
        """theta_k starts at the received model."""
        run.put_scratch(PersonalModel(run.values[: run.grad.numel()].clone()))

    def step(self, run: LocalRun[PFedMeClient], batch: Batch) -> None:
        """K steps of theta_k, then one step of w along lambda (w - theta_k)."""
        trained, theta = run.values[: run.grad.numel()], run.scratch(PersonalModel).values
        local = trained.clone()
        trained.copy_(theta)
        for _ in range(self.config.personal_steps):
            run.backward(batch)
            run.grad.add_(trained - local, alpha=self.config.lam)
            trained.sub_(run.grad, alpha=self.config.personal_lr)
        theta.copy_(trained)
        trained.copy_(local)
        run.grad.copy_(local.sub_(theta)).mul_(self.config.lam)
        run.apply_gradient()

    def after_train(self, run: LocalRun[PFedMeClient]) -> None:
        """Keep theta_k, with the running statistics of this task."""
        personal = run.values.detach().clone()
        personal[: run.grad.numel()] = run.scratch(PersonalModel).values
        run.state = PFedMeClient(personal=personal.cpu())

    def personal(self, run: LocalRun[PFedMeClient]) -> None:
        """Load theta_k."""
        run.load(run.state.personal, None)

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """w <- (1 - beta) w + beta mean(w_k)."""
        num_trainable = self.setting.layout.num_trainable
        params = aggregate.step_from(state.params, num_trainable, self.config.server_lr)
        return ServerState(params=params.to(torch.float32))
