"""Methods are found by name, by module and class, or rejected."""

import pytest

from algorithms import ALGORITHMS
from algorithms.fedavg import FedAvg
from orchestrator.errors import ConfigError
from orchestrator.experiment.methods import algorithm_names, load_algorithm
from tests.support.errors import rejects


def test_names_are_listed_without_importing_the_methods() -> None:
    assert set(ALGORITHMS) <= set(algorithm_names())


def test_a_method_is_found_by_module_and_class() -> None:
    assert load_algorithm("algorithms.fedavg:FedAvg") is FedAvg


def test_an_unknown_name_is_rejected_with_a_near_match() -> None:
    with pytest.raises(ConfigError) as caught:
        load_algorithm("fedavgg")
    assert (caught.value.field, caught.value.value) == ("algorithm.name", "fedavgg")
    assert caught.value.remedy == "did you mean 'fedavg'?"
    with pytest.raises(ConfigError) as caught:
        load_algorithm("zzzzzz")
    assert all(name in caught.value.remedy for name in ALGORITHMS)


def test_something_else_than_a_method_is_rejected() -> None:
    with rejects("algorithm.name", "algorithms.fedprox:FedProxConfig"):
        load_algorithm("algorithms.fedprox:FedProxConfig")
