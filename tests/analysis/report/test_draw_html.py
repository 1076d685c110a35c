"""Charts as HTML fragments."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison
from orchestrator.analysis.report.charts import pareto_chart
from orchestrator.analysis.report.draw_html import chart_html
from tests.support.comparisons import chart, comparison_of_three_methods, series


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return comparison_of_three_methods(tmp_path)


def test_html_has_every_point_and_escaped_labels(comparison: Comparison) -> None:
    odd = replace(series(), label="<script>alert(1)</script>")
    text = chart_html(chart(odd, series(rank=22)), "some-id")
    assert 'id="some-id"' in text
    assert "<script>alert" not in text
    assert r"\u003cscript" not in text
    assert r"\u0026lt;script" in text or "&lt;script" in text
    assert '"y":[0.5,0.6]' in text
    assert text.count('"showlegend":false') == 1
    front = chart_html(pareto_chart(comparison), "pareto")
    assert "Pareto front" in front
    assert '"error_y":{"array"' in front
