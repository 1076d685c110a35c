"""The HTML page of a comparison: complete, self-contained, and with escaped labels."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison
from orchestrator.analysis.report.tables import cap_table, main_table
from tests.support.comparisons import HOSTILE, report_with_hostile_name


class PageReader(HTMLParser):
    """Collects the elements of a page, their references, and the texts of cells, items, headings and paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.references: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        self._inside = tag
        if tag in ("td", "th", "li", "h1", "h2", "p", "title"):
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.texts:
            self.texts[self._inside][-1] += data


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, list[Path]]:
    return report_with_hostile_name(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(report: tuple[Comparison, list[Path]]) -> PageReader:
    reader = PageReader()
    reader.feed(report[1][0].read_text())
    return reader


def test_page_has_overview_notes_and_headings(
    report: tuple[Comparison, list[Path]], page: PageReader
) -> None:
    comparison, _ = report
    assert re.findall(r"\d+ \w+", page.texts["p"][0]) == ["3 runs", "2 configurations", "2 seeds"]
    assert page.texts["h1"] == page.texts["title"][:1] == [f"Sparsefleet: {HOSTILE}, fedavg"]
    assert page.texts["li"] == list(comparison.notes)
    assert page.texts["h2"] == [
        "Results",
        "Accuracy and uploaded bytes, Pareto front",
        "Accuracy by round",
        "Accuracy by uploaded bytes",
        "Accuracy by downloaded bytes",
        "Accuracy by training FLOPs",
        "Accuracy by emulated time",
        "At upload caps, and to targets",
        "Setting and commands",
    ]


def test_page_has_the_tables(report: tuple[Comparison, list[Path]], page: PageReader) -> None:
    tables = main_table(report[0]), cap_table(report[0])
    assert page.texts["th"] == [heading for table in tables for heading in table.headings]
    cells = [cell for table in tables for row in table.rows for cell in row]
    assert page.texts["td"][: len(cells)] == cells


def test_labels_are_escaped(report: tuple[Comparison, list[Path]], page: PageReader) -> None:
    text = report[1][0].read_text()
    assert "<script>alert" not in text
    assert 'alert("x")' not in text.replace(r"\"", "")
    assert page.elements.count("script") == 1


def test_page_loads_nothing_from_the_network(report: tuple[Comparison, list[Path]], page: PageReader) -> None:
    assert page.references == ["data:,"]
    assert not {"img", "iframe", "object", "embed", "audio", "video", "base"} & set(page.elements)
    text = report[1][0].read_text()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert not re.findall(r"https?://[^\"' ]+", text)
