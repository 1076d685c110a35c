"""FedAvgM: the server applies momentum to the mean change of the clients.

FedAvg with momentum at the server: with g = w - mean(w_k), v <- beta v + g and w <- w - eta_s v.

Symbols: v = state.velocity, beta = algorithm.server_momentum, eta_s = algorithm.server_lr.

Deviations: the step is computed as mean(w_k) + (1 - eta_s)(w - mean(w_k)) - eta_s beta v, which is the same
in exact arithmetic. With beta = 0 and eta_s = 1 the result equals FedAvg's bit for bit.
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
    ServerState,
    Traits,
)


class FedAvgMConfig(AlgorithmConfig):
    """Options of FedAvgM."""

    server_momentum: float = Field(
        0.9, ge=0.0, lt=1.0, description="beta, momentum of the server; 0 is FedAvg"
    )
    server_lr: float = Field(1.0, gt=0.0, description="eta_s, learning rate of the server")


@dataclass(frozen=True, kw_only=True, eq=False)
class FedAvgMState(ServerState):
    """Adds the float64[D] velocity v."""

    velocity: Tensor


@final
class FedAvgM(Algorithm[FedAvgMState, None]):
    """FedAvg with server momentum."""

    Config: ClassVar[type[AlgorithmConfig]] = FedAvgMConfig
    config: FedAvgMConfig
    traits: ClassVar[Traits] = Traits(citations=(references.FEDAVGM,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def init(self, params: Tensor) -> FedAvgMState:
        """The velocity starts at 0, so that the first velocity is the pseudo-gradient."""
        return FedAvgMState(params=params, velocity=torch.zeros_like(params, dtype=torch.float64))

    def server_update(self, state: FedAvgMState, aggregate: Aggregate, round_idx: int) -> FedAvgMState:
        """Apply momentum to the pseudo-gradient."""
        mean, lr, momentum = aggregate.values, self.config.server_lr, self.config.server_momentum
        pseudo_gradient = state.params.to(torch.float64) - mean
        pseudo_gradient[self.setting.layout.num_trainable :] = 0  # running statistics are not optimised
        params = mean + (1.0 - lr) * pseudo_gradient - lr * momentum * state.velocity
        return FedAvgMState(
            params=params.to(torch.float32), velocity=momentum * state.velocity + pseudo_gradient
        )
