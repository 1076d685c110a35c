"""FedDyn: each client adds a regulariser that changes in each round, so that local and global minima agree.

Each client minimises f_k(w) - <g_k, w> + (alpha / 2) ||w - w_r||^2, where g_k is the gradient of f_k at the client's
last model. Afterwards g_k <- g_k - alpha (w_k - w_r). The server takes h <- h - (alpha / N) sum(w_k - w_r) over the
participants, and w <- mean(w_k) - h / alpha with equal weights.

Symbols: w_r = run.start, g_k = client_state.gradient, h = state.correction, alpha = algorithm.alpha,
N = fleet.num_clients.

Deviations: the reported training loss does not contain the two added terms. Running statistics are averaged.
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
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
)


class FedDynConfig(AlgorithmConfig):
    """Options of FedDyn."""

    alpha: float = Field(0.1, gt=0.0, description="weight of the dynamic regulariser")


@dataclass(frozen=True, kw_only=True, eq=False)
class FedDynState(ServerState):
    """Adds h, float64[T]."""

    correction: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class FedDynClient:
    """State of a client: g_k, float32[T]."""

    gradient: Tensor


@final
class FedDyn(Algorithm[FedDynState, FedDynClient]):
    """FedAvg with a dynamic regulariser on each client."""

    Config: ClassVar[type[AlgorithmConfig]] = FedDynConfig
    config: FedDynConfig
    traits: ClassVar[Traits] = Traits(citations=(references.FEDDYN,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def init(self, params: Tensor) -> FedDynState:
        """h starts at 0."""
        zeros = torch.zeros(self.setting.layout.num_trainable, dtype=torch.float64)
        return FedDynState(params=params, correction=zeros)

    def init_client(self, client_id: int) -> FedDynClient:
        """g_k starts at 0."""
        return FedDynClient(gradient=torch.zeros(self.setting.layout.num_trainable))

    def weight(self, num_examples: int) -> float:
        """All participants count equally."""
        return 1.0

    def grad_hook(self, run: LocalRun[FedDynClient]) -> None:
        """Add -g_k + alpha (w - w_r)."""
        run.grad.sub_(run.state.gradient.to(run.grad.device))
        run.add_proximal_gradient(self.config.alpha)

    def after_train(self, run: LocalRun[FedDynClient]) -> None:
        """g_k <- g_k - alpha (w_k - w_r)."""
        trained = slice(0, self.setting.layout.num_trainable)
        change = (run.values[trained] - run.start[trained]).detach().cpu()
        run.state = FedDynClient(gradient=run.state.gradient - self.config.alpha * change)

    def server_update(self, state: FedDynState, aggregate: Aggregate, round_idx: int) -> FedDynState:
        """h <- h - alpha (S / N) (mean(w_k) - w), then w <- mean(w_k) - h / alpha."""
        alpha, trained = self.config.alpha, slice(0, self.setting.layout.num_trainable)
        params, share = aggregate.values.clone(), aggregate.num_updates / self.setting.num_clients
        change = params[trained] - state.params[trained].to(torch.float64)
        correction = state.correction - alpha * share * change
        params[trained] -= correction / alpha
        return FedDynState(params=params.to(torch.float32), correction=correction)
