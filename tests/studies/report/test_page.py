"""The report as an HTML page."""

import re
from html.parser import HTMLParser
from pathlib import Path

from orchestrator.analysis.report.tables import TextTable
from orchestrator.studies.report.page import html_list, html_table, study_page
from orchestrator.studies.results import StudyResults
from tests.support.studies import study_state


def test_page_contains_its_images_and_refers_to_no_other_file(results: StudyResults, tmp_path: Path) -> None:
    plot = tmp_path / "digits.png"
    plot.write_bytes(b"png")
    page = study_page(results, study_state(), {"digits": plot})
    HTMLParser().feed(page)
    assert 'src="data:image/png;base64,cG5n"' in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<td>holds</td>" in page


def test_text_is_escaped() -> None:
    assert "<td>&lt;b&gt;</td>" in html_table(TextTable(headings=("a",), rows=(("<b>",),), caption=""))
    assert html_list(["a & b"]) == "<ul>\n<li>a &amp; b</li>\n</ul>"
