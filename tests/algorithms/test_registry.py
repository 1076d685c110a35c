"""How a method is found."""

import importlib

import pytest

from algorithms import ALGORITHMS
from algorithms.fedavg import FedAvg
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.experiment.methods import algorithm_names, load_algorithm
from orchestrator.federation.algorithm import Algorithm
from tests.support.errors import rejects


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_name_leads_to_a_method_that_is_final_and_has_a_frozen_config(name: str) -> None:
    found = load_algorithm(name)
    assert issubclass(found, Algorithm)
    assert getattr(found, "__final__", False)
    assert issubclass(found.Config, AlgorithmConfig)
    assert found.Config.model_config["frozen"]
    assert found.Config.model_config["extra"] == "forbid"


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_every_methods_file_opens_with_its_source(name: str) -> None:
    module = importlib.import_module(ALGORITHMS[name].partition(":")[0])
    assert module.__doc__ is not None
    assert "arXiv" in module.__doc__
    assert "Symbols:" in module.__doc__


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
