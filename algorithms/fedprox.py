"""FedProx: a proximal term keeps each client's model close to the global model.

FedAvg whose clients minimise f_k(w) + (mu / 2) ||w - w_r||^2, where w_r is the received model.

Symbols: mu = algorithm.mu, w_r = run.start.

Deviations: clients add the proximal gradient mu (w - w_r) to the gradient directly, which gives the same gradient as a
term in the loss. The reported training loss therefore does not contain the penalty. Clients do not stop early.
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
)


class FedProxConfig(AlgorithmConfig):
    """Options of FedProx."""

    mu: float = Field(0.01, ge=0.0, description="weight of the proximal term; 0 is FedAvg")


@final
class FedProx(Algorithm[ServerState, None]):
    """FedAvg with a proximal term."""

    Config: ClassVar[type[AlgorithmConfig]] = FedProxConfig
    config: FedProxConfig
    traits: ClassVar[Traits] = Traits(citations=(references.FEDPROX,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def grad_hook(self, run: LocalRun[None]) -> None:
        """Add mu (w - w_r) over the trainable entries."""
        run.add_proximal_gradient(self.config.mu)
