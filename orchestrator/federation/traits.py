"""The classification of a method and its publications: its row in docs/algorithms.md."""

from dataclasses import dataclass
from typing import Literal

from orchestrator.citations.citation import Citation
from orchestrator.errors import ConfigError

Scope = Literal["-", "global", "personal", "per device"]
Structure = Literal["-", "unstructured", "structured", "update"]
When = Literal["-", "at start", "per device", "each round", "dynamic", "iterative", "learned"]
Density = Literal["1", "fixed", "per device", "adaptive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The classification of a sparse federated method, and the publications to cite.

    - `scope`: the mask is global, personal or set by the device.
    - `structure`: single weights, whole units, or only the update is sparse.
    - `when`: the time at which the mask is chosen.
    - `density`: density of the model that a client trains.
    - `personal`: each client ends with its own model.
    - `payload`: data in the messages besides the model's values.
    - `citations`: publications to cite for the method; the first describes the method.
    - `baseline_of`: publications that use the method as a baseline, if no publication introduces it.
    - `related`: other publications that the method's documentation names.
    """

    scope: Scope = "-"
    structure: Structure = "-"
    when: When = "-"
    density: Density = "1"
    personal: bool = False
    payload: str = "-"
    citations: tuple[Citation, ...] = ()
    baseline_of: tuple[Citation, ...] = ()
    related: tuple[Citation, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError if a field of publications is no tuple of Citation."""
        for name in ("citations", "baseline_of", "related"):
            value = getattr(self, name)
            if not (isinstance(value, tuple) and all(isinstance(one, Citation) for one in value)):
                raise ConfigError(
                    f"Traits.{name}", value, "this is no tuple of Citation", f"write {name}=(Citation(...),)"
                )
