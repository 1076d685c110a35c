"""Base of the methods whose server takes an adaptive step with the clients' mean change as its gradient.

Reddi et al., arXiv 2003.00295, Algorithm 2.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities


class AdaptiveServerConfig(AlgorithmConfig):
    """Options of an adaptive server step."""

    server_lr: float = Field(0.1, gt=0.0, description="eta_s, learning rate of the server")
    beta1: float = Field(0.9, ge=0.0, lt=1.0, description="decay of the first moment m")
    beta2: float = Field(0.99, ge=0.0, lt=1.0, description="decay of the second moment v")
    tau: float = Field(
        1e-3, gt=0.0, description="added to the root of the second moment; bounds the adaptive step"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptiveServerState(ServerState):
    """Adds the moments of the mean change: float64[T] `first` (m) and float64[T] `second` (v)."""

    first: Tensor
    second: Tensor


class AdaptiveServerAlgorithm(Algorithm[AdaptiveServerState, None]):
    """FedAvg with an adaptive server step; a subclass says how the second moment changes."""

    Config: ClassVar[type[AlgorithmConfig]] = AdaptiveServerConfig
    config: AdaptiveServerConfig
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    @abstractmethod
    def next_second(self, second: Tensor, squared: Tensor) -> Tensor:
        """The second moment float64[T] after a round, from the one before and the squared mean change float64[T]."""

    def init(self, params: Tensor) -> AdaptiveServerState:
        """Both moments start at 0."""
        zeros = torch.zeros(self.setting.layout.num_trainable, dtype=torch.float64)
        return AdaptiveServerState(params=params, first=zeros, second=zeros.clone())

    def server_update(
        self, state: AdaptiveServerState, aggregate: Aggregate, round_idx: int
    ) -> AdaptiveServerState:
        """m <- beta1 m + (1 - beta1) Delta, the second moment, then w <- w + eta_s m / (sqrt(v) + tau)."""
        config, trained = self.config, slice(0, self.setting.layout.num_trainable)
        params = aggregate.values.clone()  # running statistics are averaged, not optimised
        start = state.params[trained].to(torch.float64)
        change = params[trained] - start
        first = config.beta1 * state.first + (1.0 - config.beta1) * change
        second = self.next_second(state.second, change.square())
        params[trained] = start + config.server_lr * first / (second.sqrt() + config.tau)
        return AdaptiveServerState(params=params.to(torch.float32), first=first, second=second)
