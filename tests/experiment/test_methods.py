"""Methods are found by name, by module and class, or rejected."""

import pytest

from algorithms import ALGORITHMS
from algorithms.fedavg import FedAvg
from orchestrator.errors import ConfigError
from orchestrator.experiment.methods import algorithm_names, load_algorithm
from tests.support.errors import rejects


def test_registered_names_are_listed() -> None:
    assert set(ALGORITHMS) <= set(algorithm_names())


def test_method_is_found_by_module_and_class() -> None:
    assert load_algorithm("algorithms.fedavg:FedAvg") is FedAvg


def test_unknown_name_is_rejected_with_a_similar_name_or_all_names() -> None:
    with pytest.raises(ConfigError) as caught:
        load_algorithm("fedavgg")
    assert (caught.value.field, caught.value.value) == ("algorithm.name", "fedavgg")
    assert caught.value.remedy == "did you mean 'fedavg'?"
    with pytest.raises(ConfigError) as caught:
        load_algorithm("zzzzzz")
    assert all(name in caught.value.remedy for name in ALGORITHMS)


def test_object_that_is_no_method_is_rejected() -> None:
    with rejects("algorithm.name", "algorithms.fedprox:FedProxConfig"):
        load_algorithm("algorithms.fedprox:FedProxConfig")
