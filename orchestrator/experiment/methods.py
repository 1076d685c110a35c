"""Finds a method by its registry name, by the entry point of another package, or in a file."""

from typing import TYPE_CHECKING

from algorithms import ALGORITHMS
from orchestrator.errors import ConfigError
from orchestrator.plugins.offered import load_offered, offered_names

if TYPE_CHECKING:
    from orchestrator.federation.algorithm import AlgorithmType

#: entry point group in which other packages offer methods
ENTRY_POINT_GROUP = "sparsefleet.algorithms"


def algorithm_names() -> dict[str, str]:
    """Every name that `algorithm.name` accepts, and where its class is. Paths are not listed."""
    return offered_names(ENTRY_POINT_GROUP, ALGORITHMS)


def load_algorithm(name: str) -> "AlgorithmType":
    """Return the class for a registry name, an entry point, `path/to/file.py:Class` or `package.module:Class`.

    Raises ConfigError for an unknown name, and for an object that is not a subclass of Algorithm.
    """
    from orchestrator.federation.algorithm import Algorithm

    found = load_offered(name, "algorithm.name", ENTRY_POINT_GROUP, ALGORITHMS, "algorithm")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise ConfigError(
            "algorithm.name", name, "this is not a subclass of Algorithm", "name a class that derives from it"
        )
    return found
