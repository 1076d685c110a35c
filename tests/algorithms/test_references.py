"""The publications of the built-in methods."""

import re
import sys

import pytest

from algorithms import ALGORITHMS, references
from orchestrator.citations.bibtex import bibtex
from orchestrator.citations.citation import Citation
from orchestrator.experiment.methods import load_algorithm
from tests.support.bibtex import read_authors, read_bibtex

CITATIONS = {name: value for name, value in vars(references).items() if isinstance(value, Citation)}


def test_each_publication_is_listed_once() -> None:
    assert len(CITATIONS) > 35
    for field in ("key", "title", "arxiv"):
        values = [getattr(citation, field) for citation in CITATIONS.values()]
        values = [value for value in values if value]
        assert len(values) == len(set(values)), field


def test_all_entries_are_valid_bibtex() -> None:
    entries = read_bibtex("\n\n".join(map(bibtex, CITATIONS.values())))
    assert list(entries) == [citation.key for citation in CITATIONS.values()]
    for citation in CITATIONS.values():
        entry = entries[citation.key]
        assert len(read_authors(entry["author"])) == len(citation.authors)
        assert entry["year"] == str(citation.year)
        assert entry.get("eprint", "") == citation.arxiv


@pytest.mark.parametrize("name", CITATIONS)
def test_key_has_first_author_year_and_no_later_year_than_the_preprint(name: str) -> None:
    """An arXiv number starts with the year and the month of the first version."""
    citation = CITATIONS[name]
    family = citation.authors[0].partition(",")[0].lower().replace("horváth", "horvath")
    assert re.match(rf"{re.escape(family)}{citation.year}[a-z]+$", citation.key)
    if citation.arxiv:
        preprint = 2000 + int(citation.arxiv[:2])
        assert citation.year >= preprint
        assert citation.venue or citation.year == preprint


def test_each_publication_is_used() -> None:
    """To a built-in method, or to a sampling rule."""
    named = {one.key for one in references.SAMPLING_RULES}
    for name in ALGORITHMS:
        traits = load_algorithm(name).traits
        named |= {one.key for one in (*traits.citations, *traits.baseline_of, *traits.related)}
    assert named == {citation.key for citation in CITATIONS.values()}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_method_has_a_publication_or_is_a_baseline_of_one(name: str) -> None:
    traits = load_algorithm(name).traits
    assert traits.citations or traits.baseline_of


@pytest.mark.parametrize("name", ALGORITHMS)
def test_docstring_of_a_method_repeats_no_citation(name: str) -> None:
    method = load_algorithm(name)
    text = " ".join((sys.modules[method.__module__].__doc__ or "").split())
    assert not re.search(r"arxiv|doi\.org|\d{4}\.\d{5}", text, re.IGNORECASE)
    traits = method.traits
    for citation in (*traits.citations, *traits.baseline_of, *traits.related):
        assert citation.title not in text
