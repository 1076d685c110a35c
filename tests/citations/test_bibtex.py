"""BibTeX entries: their fields, their types and special characters."""

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.citations.bibtex import bibtex, latex
from orchestrator.citations.citation import Citation
from tests.support.bibtex import read_authors, read_bibtex

PAPER = Citation(
    key="gauss1809",
    title="Motion & Time: 50% of {Orbits}",
    authors=("Gauß, Carl", "The Society of 1_Science"),
    year=2009,
    conference="Conference (C)",
    arxiv="2112.09824",
)


def test_conference_paper_has_exactly_this_entry() -> None:
    assert bibtex(PAPER) == "\n".join(
        [
            "@inproceedings{gauss1809,",
            r"  title = {{Motion \& Time: 50\% of {\textbraceleft}Orbits{\textbraceright}}},",
            r"  author = {Gau{\ss}, Carl and {The Society of 1\_Science}},",
            "  booktitle = {Conference (C)},",
            "  year = {2009},",
            "  eprint = {2112.09824},",
            "  archivePrefix = {arXiv},",
            "  url = {https://arxiv.org/abs/2112.09824},",
            "}",
        ]
    )


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"conference": ""}, {"type": "misc"}),
        ({"conference": "", "journal": "Journal"}, {"type": "article", "journal": "Journal"}),
        ({"note": "Version 1"}, {"type": "inproceedings", "note": "Version 1"}),
        ({"doi": "10.1000/x_1"}, {"type": "inproceedings", "doi": "10.1000/x_1"}),
    ],
)
def test_entry_has_the_type_and_fields_of_its_venue(change: dict[str, Any], fields: dict[str, str]) -> None:
    (entry,) = read_bibtex(bibtex(replace(PAPER, **change))).values()
    assert {name: entry[name] for name in fields} == fields
    assert ("url" in entry) == ("doi" not in entry)
    assert ("booktitle" in entry) == ("conference" not in change)
    assert read_authors(entry["author"]) == [r"Gau{\ss}, Carl", r"{The Society of 1\_Science}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Konečný", r"Kone{\v{c}}n{\'{y}}"),
        ("Müller", r"M{\"{u}}ller"),
        ("Mu\u0308ller", r"M{\"{u}}ller"),
        (
            "Gündüz Çelik Łukasz Ørsted Ångström",
            r"G{\"{u}}nd{\"{u}}z {\c{C}}elik {\L}ukasz {\O}rsted {\r{A}}ngstr{\"{o}}m",
        ),
        ("a–b — “c” d’e", "a--b --- ``c'' d'e"),
        (
            r"\x{y}^~$#",
            r"{\textbackslash}x{\textbraceleft}y{\textbraceright}{\textasciicircum}{\textasciitilde}\$\#",
        ),
        ("李", "李"),
    ],
)
def test_latex_has_commands_for_accents_and_special_characters(text: str, expected: str) -> None:
    assert latex(text) == expected
