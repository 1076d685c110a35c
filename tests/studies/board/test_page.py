"""The static page of the board."""

import re
from html.parser import HTMLParser
from pathlib import Path

from orchestrator.studies.board.page import board_page
from orchestrator.studies.board.stored import StoredResults, add_study, read_stored
from tests.support.studies import finished_study


def _page(folder: Path) -> str:
    add_study(finished_study(folder), folder / "results")
    return board_page(read_stored(folder / "results"))


def test_board_marks_the_front_of_accuracy_and_upload(tmp_path: Path) -> None:
    """At the end, masked is better than the others. Within the cap, dense uploads one round of 500 kB only."""
    rows = [line for line in _page(tmp_path).splitlines() if line.startswith("<tr><td>")]
    assert len(rows) == 6
    marked = {
        (re.findall("<td>(.*?)</td>", line)[4], "at the upload cap" in line) for line in rows if "*" in line
    }
    assert marked == {("FedDST", False), ("FedDST", True), ("FedAvg", True)}


def test_page_refers_to_no_other_file_and_sorts_by_numbers(tmp_path: Path) -> None:
    page = _page(tmp_path)
    HTMLParser().feed(page)
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert 'data-value="1000000.0">1 MB' in page


def test_page_without_results_says_so() -> None:
    assert "No study has stored results yet." in board_page(StoredResults((), ()))
