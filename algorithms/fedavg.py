"""FedAvg: clients train the global model on their own samples, and the server averages their models.

Every selected client trains the global model for E epochs; the server takes the mean weighted by samples.

Symbols: w = state.params, n_k = num_examples, E = training.local_epochs, B = training.batch_size,
eta = training.lr.
"""

from typing import ClassVar, final

from algorithms import references
from orchestrator.method import (
    Algorithm,
    Capabilities,
    ServerState,
    Traits,
)


@final
class FedAvg(Algorithm[ServerState, None]):
    """Dense federated averaging."""

    traits: ClassVar[Traits] = Traits(citations=(references.FEDAVG,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)
