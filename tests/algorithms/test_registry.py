"""The registered methods: their classes and their documentation."""

import importlib

import pytest

from algorithms import ALGORITHMS
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.experiment.methods import load_algorithm
from orchestrator.federation.algorithm import Algorithm


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_registered_method_is_final_and_has_a_frozen_config(name: str) -> None:
    found = load_algorithm(name)
    assert issubclass(found, Algorithm)
    assert getattr(found, "__final__", False)
    assert issubclass(found.Config, AlgorithmConfig)
    assert found.Config.model_config["frozen"]
    assert found.Config.model_config["extra"] == "forbid"


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_file_of_a_method_has_its_source_and_symbols(name: str) -> None:
    module = importlib.import_module(ALGORITHMS[name].partition(":")[0])
    assert module.__doc__ is not None
    assert "arXiv" in module.__doc__ or "https://doi.org/" in module.__doc__
    assert "Symbols:" in module.__doc__
