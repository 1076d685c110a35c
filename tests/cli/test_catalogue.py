"""docs/algorithms.md says what the methods say of themselves."""

import sys
from pathlib import Path

import pytest

from algorithms import ALGORITHMS, load_algorithm
from orchestrator.cli.catalogue import algorithms_page

PAGE = Path(__file__).parents[2] / "docs" / "algorithms.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == algorithms_page(), "run `make catalogue`"


def test_every_method_has_a_row_and_a_section() -> None:
    lines = algorithms_page().splitlines()
    for name in ALGORITHMS:
        (row,) = [line for line in lines if line.startswith(f"| [`{name}`](#{name}) |")]
        assert row.count(" | ") == 8
        assert lines.count(f"## {name}") == 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_method_tells_its_source_its_symbols_and_its_deviations(name: str) -> None:
    method = load_algorithm(name)
    told = sys.modules[method.__module__].__doc__ or ""
    assert "Symbols:" in told
    assert "Deviations" in told or name == "fedavg"
    assert method.traits.source
    number = method.traits.source.rpartition(" ")[2]
    assert number in told, f"{number} is not in the docstring"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_traits_agree_with_what_the_method_does(name: str) -> None:
    method = load_algorithm(name)
    traits = method.traits
    assert (traits.structure == "structured") == method.uses_units or name == "fedlps_as_coded"
    assert (traits.scope == "-") == (traits.structure in ("-", "update"))
    if traits.structure in ("-", "structured"):
        assert method.default_level is None
