"""The citation of Sparsefleet agrees with CITATION.cff."""

from pathlib import Path

import yaml

from orchestrator.citations.project import SPARSEFLEET
from orchestrator.version import installed_version


def test_citation_of_sparsefleet_is_that_of_the_citation_file() -> None:
    citation = yaml.safe_load((Path(__file__).parents[2] / "CITATION.cff").read_text())
    assert SPARSEFLEET.title == citation["title"]
    assert list(SPARSEFLEET.authors) == [author["name"] for author in citation["authors"]]
    assert str(SPARSEFLEET.year) == citation["date-released"][:4]
    assert SPARSEFLEET.note == f"Version {installed_version()}"
