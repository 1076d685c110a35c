"""`cite`: BibTeX and JSON on standard output, errors on one line."""

import json

from tests.support.bibtex import read_bibtex
from tests.support.command import Command


def test_cite_prints_a_bibtex_file(command: Command) -> None:
    result = command("cite", "feddst", "fedavg")
    assert (result.code, result.err) == (0, "")
    assert list(read_bibtex(result.out)) == ["bibikar2022feddst", "mcmahan2017fedavg"]


def test_cite_without_a_method_cites_sparsefleet(command: Command) -> None:
    result = command("cite", "--json")
    assert (result.code, result.err) == (0, "")
    (entry,) = json.loads(result.out)
    assert entry["title"] == "Sparsefleet"


def test_cite_rejects_an_unknown_method(command: Command) -> None:
    result = command("cite", "feddts")
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert "did you mean 'feddst'?" in result.err
