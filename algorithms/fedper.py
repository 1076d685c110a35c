"""FedPer: clients share the body of the model, and each client keeps its own last layers.

Clients share the body of the model, and each client keeps its own head, the last layers. Body and head train together.

Symbols: K_P = algorithm.head_layers, the number of personal layers.

Deviations: none known. The server's own head stays the initial one, so that `eval/` metrics do not describe the method.
"""

from typing import ClassVar, final

from algorithms import references
from orchestrator.method import PersonalHeadAlgorithm, Traits


@final
class FedPer(PersonalHeadAlgorithm):
    """FedAvg over the body; every client keeps its own head."""

    traits: ClassVar[Traits] = Traits(personal=True, citations=(references.FEDPER,))
