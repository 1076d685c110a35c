"""Charts as PNG files."""

from dataclasses import replace
from pathlib import Path

from orchestrator.analysis.report.draw_png import draw_charts
from tests.support.comparisons import chart, series


def test_png_is_drawn_for_any_number_of_series(tmp_path: Path) -> None:
    """No label is read as a formula, and no warning is raised."""
    odd = [replace(series(rank), label=label) for rank, label in enumerate(("_hidden", "$x_{1$", "a" * 90))]
    points = [replace(s, x=s.x[:1], y=s.y[:1], rounds=(0,), low=(0.4,), high=(0.6,)) for s in odd]
    cases = {
        "none": [chart()],
        "curves": [chart(*odd), replace(chart(*map(series, range(25))), log_x=True)],
        "points": [chart(*points, front=((1.0, 0.5),))],
        "log": [replace(chart(*points, front=((1.0, 0.5),)), log_x=True)],
        "no-point": [chart(front=())],
    }
    sizes = {}
    for name, charts in cases.items():
        draw_charts(charts, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        sizes[name] = len(content)
    assert sizes["curves"] > 2 * sizes["none"]
    assert sizes["points"] > sizes["no-point"]
