"""FedAdam: the server applies Adam to the mean change of the clients.

FedAvg whose server takes an Adam step without bias correction. With Delta = mean(w_k) - w:
m <- beta1 m + (1 - beta1) Delta, v <- beta2 v + (1 - beta2) Delta^2, w <- w + eta_s m / (sqrt(v) + tau).

Symbols: m = state.first, v = state.second, eta_s = algorithm.server_lr, tau = algorithm.tau.

Deviations: v starts at 0, where the paper allows any start of at least tau^2. Running statistics are averaged.
"""

from typing import ClassVar, final

from torch import Tensor

from algorithms import references
from orchestrator.method import AdaptiveServerAlgorithm, Traits


@final
class FedAdam(AdaptiveServerAlgorithm):
    """FedAvg with Adam at the server."""

    traits: ClassVar[Traits] = Traits(citations=(references.FEDOPT,))

    def next_second(self, second: Tensor, squared: Tensor) -> Tensor:
        """v <- beta2 v + (1 - beta2) Delta^2."""
        return self.config.beta2 * second + (1.0 - self.config.beta2) * squared
