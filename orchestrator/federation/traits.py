"""The classification of a method: its row in docs/algorithms.md."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["-", "global", "personal", "per device"]
Structure = Literal["-", "unstructured", "structured", "update"]
When = Literal["-", "at start", "per device", "each round", "dynamic", "iterative", "learned"]
Density = Literal["1", "fixed", "per device", "adaptive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The classification of a sparse federated method. Each field is a column of the table.

    - `scope`: the mask is global, personal or set by the device.
    - `structure`: single weights, whole units, or only the update is sparse.
    - `when`: the time at which the mask is chosen.
    - `density`: density of the model that a client trains.
    - `personal`: each client ends with its own model.
    - `payload`: data in the messages besides the model's values.
    - `source`: publication of the method.
    """

    scope: Scope = "-"
    structure: Structure = "-"
    when: When = "-"
    density: Density = "1"
    personal: bool = False
    payload: str = "-"
    source: str = ""
