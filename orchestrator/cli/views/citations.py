"""The publications that `cite` prints."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from orchestrator.citations.bibtex import bibtex
from orchestrator.citations.citation import Citation
from orchestrator.citations.project import SPARSEFLEET
from orchestrator.errors import ConfigError, RequestError


def cited_publications(methods: Sequence[str]) -> list[Citation]:
    """Return the publications to cite for the methods, each once, in the order of the methods.

    A method is a registered name, `path/to/file.py:Class` or `package.module:Class`. Without methods, return the
    citation of Sparsefleet. Raises ConfigError for an unknown method and for a key of two publications, and
    RequestError for a method that names no publication.
    """
    found: dict[str, Citation] = {} if methods else {SPARSEFLEET.key: SPARSEFLEET}
    for method in methods:
        for citation in _publications(method):
            if found.setdefault(citation.key, citation) != citation:
                remedy = "give one of the publications another key"
                raise ConfigError("Citation.key", citation.key, "two publications have this key", remedy)
    return list(found.values())


def _publications(method: str) -> tuple[Citation, ...]:
    from orchestrator.experiment.methods import load_algorithm

    traits = load_algorithm(method).traits
    if not (traits.citations or traits.baseline_of):
        remedy = "add traits = Traits(citations=(Citation(...),)) to its class"
        raise RequestError("METHOD", method, "the method names no publication", remedy)
    return traits.citations + traits.baseline_of


def bibtex_text(citations: Sequence[Citation]) -> str:
    """Return the entries of a BibTeX file, separated by empty lines."""
    return "\n\n".join(map(bibtex, citations))


def json_text(citations: Sequence[Citation]) -> str:
    """Return a JSON list with one object for each publication: its fields, empty fields included."""
    return json.dumps([asdict(citation) for citation in citations], indent=2, ensure_ascii=False)
