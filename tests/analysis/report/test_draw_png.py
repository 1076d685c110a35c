"""Charts as PNG files."""

from dataclasses import replace
from pathlib import Path

from orchestrator.analysis.report.charts import (
    Chart,
    Series,
)
from orchestrator.analysis.report.draw_png import draw_charts


def _series(rank: int = 0, x: tuple[float, ...] = (1.0, 2.0), y: tuple[float, ...] = (0.5, 0.6)) -> Series:
    return Series(label=f"m{rank}", rank=rank, x=x, y=y, low=(), high=(), rounds=tuple(range(len(x))))


def _chart(*drawn: Series, front: tuple[tuple[float, float], ...] | None = None) -> Chart:
    return Chart(
        title="t", x_label="x", y_label="y", log_x=False, series=drawn, front=front, note="some are grey"
    )


def test_png_is_drawn_for_any_number_of_series(tmp_path: Path) -> None:
    """No label is read as a formula, and no warning is raised."""
    odd = [replace(_series(rank), label=label) for rank, label in enumerate(("_hidden", "$x_{1$", "a" * 90))]
    points = [replace(s, x=s.x[:1], y=s.y[:1], rounds=(0,), low=(0.4,), high=(0.6,)) for s in odd]
    cases = {
        "none": [_chart()],
        "curves": [_chart(*odd), replace(_chart(*map(_series, range(25))), log_x=True)],
        "points": [_chart(*points, front=((1.0, 0.5),))],
        "log": [replace(_chart(*points, front=((1.0, 0.5),)), log_x=True)],
        "no-point": [_chart(front=())],
    }
    sizes = {}
    for name, charts in cases.items():
        draw_charts(charts, tmp_path / name)
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        sizes[name] = len(content)
    assert sizes["curves"] > 2 * sizes["none"]
    assert sizes["points"] > sizes["no-point"]
