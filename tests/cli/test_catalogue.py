"""docs/algorithms.md agrees with the methods."""

import sys
from pathlib import Path

import pytest

from algorithms import ALGORITHMS
from orchestrator.cli.catalogue import algorithms_page
from orchestrator.experiment.methods import load_algorithm

PAGE = Path(__file__).parents[2] / "docs" / "algorithms.md"


def test_algorithms_page_is_up_to_date() -> None:
    assert PAGE.read_text() == algorithms_page(), "run `make catalogue`"


def test_page_has_a_row_and_a_section_for_every_method() -> None:
    lines = algorithms_page().splitlines()
    for name in ALGORITHMS:
        (row,) = [line for line in lines if line.startswith(f"| [`{name}`](#{name}) |")]
        assert row.count(" | ") == 8
        assert lines.count(f"## {name}") == 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_docstring_of_a_method_names_source_symbols_and_deviations(name: str) -> None:
    method = load_algorithm(name)
    docstring = sys.modules[method.__module__].__doc__ or ""
    assert "Symbols:" in docstring
    assert "Deviations" in docstring or name == "fedavg"
    assert method.traits.source
    number = method.traits.source.rpartition(" ")[2]
    assert number in docstring, f"{number} is not in the docstring"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_traits_agree_with_the_method(name: str) -> None:
    method = load_algorithm(name)
    traits = method.traits
    assert (traits.structure == "structured") == method.capabilities.submodels or name == "fedlps_as_coded"
    assert (traits.scope == "-") == (traits.structure in ("-", "update"))
    if traits.structure in ("-", "structured"):
        assert method.capabilities.default_density is None
