"""Charts as PNG, PDF and SVG files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator.analysis.report.charts import Chart, Distribution
from orchestrator.analysis.report.draw_figure import draw_charts, draw_fairness
from tests.support.comparisons import chart, series


def _width_and_height(file: Path) -> tuple[int, int]:
    """The size in the header of a PNG file."""
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def test_figures_are_drawn_for_any_number_of_series(tmp_path: Path) -> None:
    """No label is read as a formula, and no warning is raised."""
    odd = [replace(series(rank), label=label) for rank, label in enumerate(("_hidden", "$x_{1$", "a" * 90))]
    points = [replace(s, x=s.x[:1], y=s.y[:1], rounds=(0,), low=(0.4,), high=(0.6,)) for s in odd]
    nothing = replace(points[0], x=(0.0,))
    cases: dict[str, list[Chart]] = {
        "none": [chart()],
        "curves": [chart(*odd), replace(chart(*map(series, range(45))), log_x=True), chart()],
        "points": [chart(*points, front=((1.0, 0.5),))],
        "log": [replace(chart(nothing, *points[1:], front=((0.0, 0.5),)), log_x=True)],
        "no-point": [chart(front=())],
    }
    for name, charts in cases.items():
        files = draw_charts(charts, tmp_path / name)
        assert [file.name for file in files] == [f"{name}.png", f"{name}.pdf", f"{name}.svg"]
        starts = [file.read_bytes()[:5] for file in files]
        assert starts == [b"\x89PNG\r", b"%PDF-", b"<?xml"]


def test_figure_grows_with_its_legend(tmp_path: Path) -> None:
    few, many = [chart(*map(series, range(num))) for num in (3, 40)]
    (width, small), (same_width, large) = (
        _width_and_height(draw_charts([drawn], tmp_path / str(idx))[0])
        for idx, drawn in enumerate((few, many))
    )
    assert width == same_width
    assert large > small + 100
    text = (tmp_path / "1.svg").read_text()
    assert all(f"m{rank}" in text for rank in range(40))


def test_fairness_has_a_row_for_each_configuration(tmp_path: Path) -> None:
    rows = [
        Distribution(label=f"$m{rank}", rank=rank, look=series(rank).look, values=np.linspace(0.1, 1.0, 7))
        for rank in range(30)
    ]
    one, many = (_width_and_height(draw_fairness(rows[:num], tmp_path / str(num))[0]) for num in (1, 30))
    assert many[1] > one[1] + 500
