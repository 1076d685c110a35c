"""FedAvg: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
AISTATS 2017, arXiv 1602.05629, https://arxiv.org/abs/1602.05629

Every selected client trains the global model for E epochs; the server takes the mean weighted by samples.

Symbols: w = state.params, n_k = num_examples, E = training.local_epochs, B = training.batch_size,
eta = training.lr.
"""

from typing import ClassVar, final

from orchestrator.method import (
    Algorithm,
    Capabilities,
    ServerState,
    Traits,
)


@final
class FedAvg(Algorithm[ServerState, None]):
    """Dense federated averaging."""

    traits: ClassVar[Traits] = Traits(source="arXiv 1602.05629")
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)
