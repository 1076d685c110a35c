"""Citations in documents."""

from dataclasses import replace

from orchestrator.citations.citation import Citation
from orchestrator.citations.markdown import link, reference

PAPER = Citation(key="a2020b", title="Bees", authors=("Agüera y Arcas, Blaise",), year=2020)


def test_reference_has_names_title_venue_year_and_link() -> None:
    assert reference(PAPER) == 'Blaise Agüera y Arcas, "Bees", 2020'
    paper = replace(
        PAPER,
        authors=("Lovelace, Ada", "Turing, Alan M.", "The Bees"),
        journal="Letters (L)",
        arxiv="2001.00001",
    )
    assert reference(paper) == (
        'Ada Lovelace, Alan M. Turing and The Bees, "Bees", Letters (L) 2020, '
        "[arXiv 2001.00001](https://arxiv.org/abs/2001.00001)"
    )


def test_link_has_a_short_text() -> None:
    assert link(PAPER) == ""
    assert link(replace(PAPER, url="https://example.org")) == "[online](https://example.org)"
    assert link(replace(PAPER, doi="10.1000/1")) == "[doi 10.1000/1](https://doi.org/10.1000/1)"
