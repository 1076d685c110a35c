"""FedYogi: the server applies Yogi to the mean change of the clients.

FedAdam with Yogi's second moment, which changes by at most (1 - beta2) Delta^2 in a round:
v <- v - (1 - beta2) Delta^2 sign(v - Delta^2).

Symbols: Delta = mean(w_k) - w, v = state.second, beta2 = algorithm.beta2.

Deviations: v starts at 0, where the paper allows any start of at least tau^2. Running statistics are averaged.
"""

from typing import ClassVar, final

from torch import Tensor

from algorithms import references
from orchestrator.method import AdaptiveServerAlgorithm, Traits


@final
class FedYogi(AdaptiveServerAlgorithm):
    """FedAvg with Yogi at the server."""

    traits: ClassVar[Traits] = Traits(citations=(references.FEDOPT,))

    def next_second(self, second: Tensor, squared: Tensor) -> Tensor:
        """v <- v - (1 - beta2) Delta^2 sign(v - Delta^2)."""
        return second - (1.0 - self.config.beta2) * squared * (second - squared).sign()
