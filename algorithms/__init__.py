"""The methods, one a file, and how a method is found by name."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.models.plugin import load_object
from orchestrator.suggest import suggest

if TYPE_CHECKING:
    from orchestrator.federation.algorithm import AlgorithmType

#: registry name -> where the class is; imported on demand, so that listing names costs nothing
ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        "feddst": "algorithms.feddst:FedDST",
        "fedspa": "algorithms.fedspa:FedSpa",
        "ssfl": "algorithms.ssfl:SSFL",
        "fedlps": "algorithms.fedlps:FedLPS",
        "fedlps_as_coded": "algorithms.fedlps_as_coded:FedLPSAsCoded",
        "fedavg": "algorithms.fedavg:FedAvg",
        "fedavg_ft": "algorithms.fedavg_ft:FedAvgFT",
        "fedavgm": "algorithms.fedavgm:FedAvgM",
        "fedprox": "algorithms.fedprox:FedProx",
        "ditto": "algorithms.ditto:Ditto",
        "local": "algorithms.local:Local",
        "randommask": "algorithms.randommask:RandomMask",
        "snip": "algorithms.snip:SNIP",
        "prunefl": "algorithms.prunefl:PruneFL",
        "lotteryfl": "algorithms.lotteryfl:LotteryFL",
        "subfedavg": "algorithms.subfedavg:SubFedAvg",
        "fedpm": "algorithms.fedpm:FedPM",
        "topk": "algorithms.topk:TopK",
        "heterofl": "algorithms.heterofl:HeteroFL",
        "fedrolex": "algorithms.fedrolex:FedRolex",
        "fjord": "algorithms.fjord:FjORD",
    }
)

#: entry point group under which other packages offer methods
ENTRY_POINT_GROUP = "sparsefleet.algorithms"


def algorithm_names() -> dict[str, str]:
    """Every name that `algorithm.name` takes besides a path, and where its class is."""
    offered = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**offered, **ALGORITHMS}


def load_algorithm(name: str) -> "AlgorithmType":
    """The class for a registry name, an entry point, `path/to/file.py:Class` or `package.module:Class`.

    Raises ConfigError for a name that is not known or does not lead to an Algorithm.
    """
    from orchestrator.federation.algorithm import Algorithm

    known = algorithm_names()
    if name not in known and ":" not in name:
        hint = suggest(name, known, f"choose one of {', '.join(sorted(known))}")
        raise ConfigError("algorithm.name", name, "there is no such algorithm", hint)
    found = load_object(known.get(name, name), "algorithm.name")
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise ConfigError(
            "algorithm.name", name, "this is not a subclass of Algorithm", "name a class that derives from it"
        )
    return found
