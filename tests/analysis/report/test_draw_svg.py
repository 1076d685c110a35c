"""Charts as SVG elements of the page."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np

from orchestrator.analysis.report.charts import MAX_NAMED, Distribution
from orchestrator.analysis.report.draw_svg import chart_svg, fairness_svg
from tests.support.comparisons import HOSTILE, chart, series


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def _ranks(svg: str) -> set[str]:
    return {element.attrib["data-i"] for element in ElementTree.fromstring(svg).iter("g")}


def test_lines_that_end_together_have_a_label_each() -> None:
    drawn = chart(*map(series, range(MAX_NAMED + 2)))
    svg = chart_svg(drawn)
    assert {f"m{rank}" for rank in range(MAX_NAMED)} <= set(_texts(svg))
    assert f"m{MAX_NAMED}" not in _texts(svg)
    assert _ranks(svg) == {str(rank) for rank in range(MAX_NAMED + 2)}
    assert not set(_texts(chart_svg(drawn, labelled=False))) & {"m0", "m1"}


def test_points_have_a_label_and_a_tip_each() -> None:
    points = [replace(series(rank), x=(1.0 + rank / 50,), y=(0.5,), rounds=(4,)) for rank in range(40)]
    svg = chart_svg(chart(*points, front=((1.0, 0.5),)))
    assert {f"m{rank}" for rank in range(40)} <= set(_texts(svg))
    tips = [element.text for element in ElementTree.fromstring(svg).iter("title")]
    assert tips[0] == "m0\nround 4\nx: 1\ny: 50.00%"


def test_zero_on_a_logarithmic_axis_is_drawn() -> None:
    local, other = replace(series(0), x=(0.0, 0.0)), series(1, x=(1.0, 100.0))
    texts = _texts(chart_svg(replace(chart(local, other), log_x=True)))
    assert {"0", "1", "10", "100"} <= set(texts)
    assert {"m0", "m1"} <= set(texts)


def test_labels_are_escaped() -> None:
    svg = chart_svg(chart(replace(series(0), label=HOSTILE)))
    assert "<script" not in svg
    assert any(text.startswith("<script>") for text in _texts(svg))


def test_fairness_has_a_row_for_each_configuration() -> None:
    values = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    rows = [
        Distribution(label=f"m{rank}", rank=rank, look=series(rank).look, values=values) for rank in range(3)
    ]
    svg = fairness_svg(rows)
    assert {"m0", "m1", "m2"} <= set(_texts(svg))
    assert re.search("median 30.00%, worst 10.00%, 10th percentile 14.00%, 5 clients", svg)
