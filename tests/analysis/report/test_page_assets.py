"""The style sheet and the script of the page. tests/browser/test_report.py runs the script in a browser."""

import re

from orchestrator.analysis.report.draw_svg import chart_svg
from orchestrator.analysis.report.page_assets import SCRIPT, STYLE
from tests.support.comparisons import chart, series


def test_every_class_of_a_chart_has_a_style() -> None:
    svg = chart_svg(chart(series(0), series(60)))
    classes = {name for names in re.findall(r'class="([^"]+)"', svg) for name in names.split()}
    assert {name for name in classes if f".{name}" not in STYLE} == set()


def test_style_and_script_load_nothing() -> None:
    assert not re.search(r"url\(|@import|https?:|fetch|import\b", STYLE + SCRIPT)
    assert "@media print" in STYLE
