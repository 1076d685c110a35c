"""docs/algorithms.md agrees with the methods."""

import sys
from pathlib import Path

import pytest
import torch

from algorithms import ALGORITHMS, references
from orchestrator.citations.markdown import reference
from orchestrator.cli.catalogue import algorithms_page
from orchestrator.experiment.methods import load_algorithm
from orchestrator.federation.aggregate import AGGREGATORS, Contribution

PAGE = Path(__file__).parents[2] / "docs" / "algorithms.md"


def test_algorithms_page_is_up_to_date() -> None:
    assert PAGE.read_text() == algorithms_page(), "run `make catalogue`"


def test_page_has_a_row_and_a_section_for_every_method() -> None:
    lines = algorithms_page().splitlines()
    for name in ALGORITHMS:
        (row,) = [line for line in lines if line.startswith(f"| [`{name}`](#{name}) |")]
        assert row.count(" | ") == 8
        assert lines.count(f"## {name}") == 1


def test_page_says_what_an_untrained_coordinate_gets_under_each_average() -> None:
    """Two clients of weights 1 and 3 train coordinates 0 and 1 to the value 8, from 4; the server has 4 everywhere."""
    section = algorithms_page().partition("## The four averages\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    table = {row[0].split("`")[1]: row[1:] for row in rows}
    assert table.keys() == AGGREGATORS.keys()
    server, start = torch.full((3,), 4.0), torch.full((3,), 4.0)
    masks = torch.tensor([[True, False, False], [True, True, False]])
    some = {"wmean": 6.0, "covmean": 8.0, "dmean": 7.0, "ipart": 4.0}
    for name, (_, untrained) in table.items():
        aggregator = AGGREGATORS[name]()
        for client_id, (mask, weight) in enumerate(zip(masks, (1.0, 3.0), strict=True)):
            aggregator.add(
                Contribution(client_id=client_id, weight=weight, values=8.0 * mask, mask=mask, start=start)
            )
        assert aggregator.finish(server).values.tolist() == [8.0, some[name], 4.0]
        assert untrained == "the server's value |"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_docstring_of_a_method_names_symbols_and_deviations(name: str) -> None:
    method = load_algorithm(name)
    docstring = sys.modules[method.__module__].__doc__ or ""
    assert "Symbols:" in docstring
    assert "Deviations" in docstring or name == "fedavg"


def test_section_of_a_method_lists_its_publications() -> None:
    """FedAvg-FT has all kinds: FedAvg is its own publication, and DisPFL uses it as a baseline."""
    page = algorithms_page()
    section = page.partition("\n## fedavg_ft\n")[2].partition("\n## ")[0]
    assert f"- **Publication**: {reference(references.FEDAVG)}" in section.splitlines()
    assert f"- **Baseline of**: {reference(references.DISPFL)}" in section.splitlines()
    section = page.partition("\n## snip\n")[2].partition("\n## ")[0]
    assert f"- **Related**: {reference(references.PRUNEFL)}" in section.splitlines()


def test_row_of_a_method_links_its_source() -> None:
    rows = {line.split("`")[1]: line for line in algorithms_page().splitlines() if line.startswith("| [`")}
    ditto = "[arXiv 2012.04221](https://arxiv.org/abs/2012.04221)"
    assert rows["ditto"].endswith(f"| {ditto} |")
    assert rows["local"].endswith(f"| baseline of {ditto} |")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_traits_agree_with_the_method(name: str) -> None:
    method = load_algorithm(name)
    traits = method.traits
    masks_units = name in ("fedlps_as_coded", "spafl")  # whole units, but as masks of the full model
    assert (traits.structure == "structured") == method.capabilities.submodels or masks_units
    assert (traits.scope == "-") == (traits.structure in ("-", "update"))
    prunes_weights_too = name == "subfedavg_hybrid"
    if traits.structure in ("-", "structured") and not prunes_weights_too:
        assert method.capabilities.default_density is None
