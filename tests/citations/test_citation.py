"""The record of a publication, and what it rejects."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.citations.citation import Citation
from orchestrator.errors import ConfigError

PAPER = Citation(key="love1843notes", title="Notes", authors=("Lovelace, Ada",), year=1943)


@pytest.mark.parametrize(
    ("change", "address", "label"),
    [
        ({}, "", "Notes"),
        ({"url": "https://example.org/a"}, "https://example.org/a", "Notes"),
        (
            {"url": "https://example.org/a", "doi": "10.1609/aaai.v36i6.20555"},
            "https://doi.org/10.1609/aaai.v36i6.20555",
            "doi 10.1609/aaai.v36i6.20555",
        ),
        (
            {"doi": "10.1609/aaai.v36i6.20555", "arxiv": "2112.09824"},
            "https://arxiv.org/abs/2112.09824",
            "arXiv 2112.09824",
        ),
        ({"arxiv": "cs/0112017"}, "https://arxiv.org/abs/cs/0112017", "arXiv cs/0112017"),
    ],
)
def test_address_is_the_preprint_else_the_doi_else_the_url(
    change: dict[str, Any], address: str, label: str
) -> None:
    paper = replace(PAPER, **change)
    assert (paper.address, paper.label) == (address, label)


def test_venue_is_the_conference_or_the_journal() -> None:
    assert PAPER.venue == ""
    assert replace(PAPER, conference="C").venue == "C"
    assert replace(PAPER, journal="J").venue == "J"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", ""),
        ("key", "two words"),
        ("key", "1843notes"),
        ("title", " "),
        ("authors", ()),
        ("authors", "Lovelace, Ada"),
        ("authors", ("Lovelace, Ada and Turing, Alan",)),
        ("authors", ("Lovelace, Ada, Countess",)),
        ("authors", (", Ada",)),
        ("authors", (1,)),
        ("year", 43),
        ("arxiv", "arXiv:2112.09824"),
        ("arxiv", "2112.09824v1"),
        ("arxiv", 2112.09824),
        ("doi", "https://doi.org/10.1609/aaai.v36i6.20555"),
        ("url", "example.org"),
    ],
)
def test_field_of_another_form_is_rejected(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        replace(PAPER, **{field: value})
    assert error.value.field == f"Citation.{field}"
    assert error.value.value == value


def test_publication_has_one_venue() -> None:
    with pytest.raises(ConfigError, match=r"Citation\.journal=J"):
        replace(PAPER, conference="C", journal="J")
