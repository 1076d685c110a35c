"""Finds a method by its registry name, by the entry point of another package, or in a file."""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from algorithms import ALGORITHMS
from orchestrator.errors import ConfigError
from orchestrator.plugins.loading import load_object
from orchestrator.suggest import suggest

if TYPE_CHECKING:
    from orchestrator.federation.algorithm import AlgorithmType

#: entry point group in which other packages offer methods
ENTRY_POINT_GROUP = "sparsefleet.algorithms"


def algorithm_names() -> dict[str, str]:
    """Every name that `algorithm.name` accepts, and where its class is. Paths are not listed."""
    offered = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**offered, **ALGORITHMS}


def load_algorithm(name: str) -> "AlgorithmType":
    """Return the class for a registry name, an entry point, `path/to/file.py:Class` or `package.module:Class`.

    Raises ConfigError for an unknown name, and for an object that is not a subclass of Algorithm.
    """
    from orchestrator.federation.algorithm import Algorithm

    # reading the entry points of all installed packages takes far longer than parsing a config
    known = ALGORITHMS if name in ALGORITHMS else algorithm_names()
    if name not in known and ":" not in name:
        hint = suggest(name, known, f"choose one of {', '.join(sorted(known))}")
        raise ConfigError("algorithm.name", name, "there is no such algorithm", hint)
    found = load_object(known.get(name, name), "algorithm.name")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise ConfigError(
            "algorithm.name", name, "this is not a subclass of Algorithm", "name a class that derives from it"
        )
    return found
