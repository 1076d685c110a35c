"""Which publications `cite` prints, and in which form."""

import json
from pathlib import Path

import pytest

from algorithms import references
from orchestrator.citations.project import SPARSEFLEET
from orchestrator.cli.views.citations import bibtex_text, cited_publications, json_text
from orchestrator.errors import ConfigError, RequestError
from tests.support.bibtex import read_bibtex

METHODS = """
from orchestrator.method import Algorithm, Citation, ServerState, Traits


class Unpublished(Algorithm[ServerState, None]):
    pass


class Mine(Algorithm[ServerState, None]):
    traits = Traits(
        citations=(Citation(key="lovelace2020bees", title="Bees", authors=("Lovelace, Ada",), year=2020),)
    )


class SameKey(Algorithm[ServerState, None]):
    traits = Traits(
        citations=(Citation(key="bibikar2022feddst", title="Bees", authors=("Lovelace, Ada",), year=2020),)
    )
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "published.py"
    path.write_text(METHODS)
    return path


def test_publications_are_in_the_order_of_the_methods_and_once() -> None:
    assert cited_publications(["fedyogi", "feddst", "fedadam"]) == [references.FEDOPT, references.FEDDST]


def test_baseline_gives_the_publications_that_use_it() -> None:
    assert cited_publications(["local"]) == [references.DITTO]
    assert cited_publications(["fedavg_ft"]) == [references.FEDAVG, references.DISPFL]


def test_related_publications_are_not_cited() -> None:
    assert cited_publications(["snip"]) == [references.SNIP]


def test_without_methods_sparsefleet_itself_is_cited() -> None:
    assert cited_publications([]) == [SPARSEFLEET]


def test_method_of_a_file_names_its_publication(file: Path) -> None:
    (paper,) = cited_publications([f"{file}:Mine"])
    assert paper.key == "lovelace2020bees"


def test_method_without_publication_is_rejected(file: Path) -> None:
    with pytest.raises(RequestError) as error:
        cited_publications(["feddst", f"{file}:Unpublished"])
    assert (error.value.field, error.value.value) == ("METHOD", f"{file}:Unpublished")


def test_two_publications_with_one_key_are_rejected(file: Path) -> None:
    with pytest.raises(ConfigError) as error:
        cited_publications(["feddst", f"{file}:SameKey"])
    assert (error.value.field, error.value.value) == ("Citation.key", "bibikar2022feddst")


def test_bibtex_and_json_have_the_same_publications() -> None:
    papers = [references.FEDOPT, references.FEDDST]
    assert list(read_bibtex(bibtex_text(papers))) == ["reddi2021fedopt", "bibikar2022feddst"]
    first, second = json.loads(json_text(papers))
    assert second["authors"] == list(references.FEDDST.authors)
    assert (first["key"], first["year"]) == ("reddi2021fedopt", 2021)
