"""Charts as HTML fragments."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.analysis import Comparison, compare
from orchestrator.analysis.report.charts import (
    Chart,
    Series,
    pareto_chart,
)
from orchestrator.analysis.report.draw_html import chart_html
from tests.support.run_folders import picked, records, write_run


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    """Final accuracies and uploads: feddst 0.7 (6 MB) and 0.8 (8 MB), fedavg 0.5 (4 MB), topk 0.6 (9 MB)."""
    for seed, final in enumerate((0.7, 0.8)):
        rounds = records(0.4, final, bytes_a_round=1e6 * (3 + seed))
        write_run(tmp_path / f"feddst-{seed}", method="feddst", seed=seed, rounds=rounds)
    write_run(tmp_path / "fedavg", rounds=records(0.25, 0.5, bytes_a_round=2e6))
    write_run(tmp_path / "topk", method="topk", rounds=records(0.25, 0.6, bytes_a_round=4.5e6))
    return compare(picked(tmp_path))


def _series(rank: int = 0, x: tuple[float, ...] = (1.0, 2.0), y: tuple[float, ...] = (0.5, 0.6)) -> Series:
    return Series(label=f"m{rank}", rank=rank, x=x, y=y, low=(), high=(), rounds=tuple(range(len(x))))


def _chart(*drawn: Series, front: tuple[tuple[float, float], ...] | None = None) -> Chart:
    return Chart(
        title="t", x_label="x", y_label="y", log_x=False, series=drawn, front=front, note="some are grey"
    )


def test_html_has_every_point_and_escaped_labels(comparison: Comparison) -> None:
    odd = replace(_series(), label="<script>alert(1)</script>")
    text = chart_html(_chart(odd, _series(rank=22)), "some-id")
    assert 'id="some-id"' in text
    assert "<script>alert" not in text
    assert r"\u003cscript" not in text
    assert r"\u0026lt;script" in text or "&lt;script" in text
    assert '"y":[0.5,0.6]' in text
    assert text.count('"showlegend":false') == 1
    front = chart_html(pareto_chart(comparison), "pareto")
    assert "Pareto front" in front
    assert '"error_y":{"array"' in front
