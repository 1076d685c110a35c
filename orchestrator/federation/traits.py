"""What kind of method a method is: the row that it has in docs/algorithms.md."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["-", "global", "personal", "per device"]
Structure = Literal["-", "unstructured", "structured", "update"]
When = Literal["-", "at start", "per device", "each round", "dynamic", "iterative", "learned"]
Density = Literal["1", "fixed", "per device", "adaptive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The classification of sparse federated methods, one field a column.

    `scope`: whose mask it is. `structure`: single weights, whole units, or only the update is sparse. `when`
    the mask is chosen. `density` of the model that a client trains. `personal`: each client ends with a model
    of its own. `payload`: what travels beside the model's values. `source`: where the method is from.
    """

    scope: Scope = "-"
    structure: Structure = "-"
    when: When = "-"
    density: Density = "1"
    personal: bool = False
    payload: str = "-"
    source: str = ""
