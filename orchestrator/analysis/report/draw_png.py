"""Draws charts as PNG files, without a display and without matplotlib's global state."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

from orchestrator.analysis.report.charts import Chart, Series
from orchestrator.analysis.report.styles import color, dashed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MAX_MARKED = 40
_MAX_LABELLED = 8
_LEGEND_WIDTH = 34


def draw_charts(charts: Sequence[Chart], path: Path) -> None:
    """Draw the charts side by side with a common legend, and write them as a PNG file."""
    figure = _figure(4.6 * len(charts) + 2.6, 4.4 if len(charts) > 1 else 5.2)
    all_axes = figure.subplots(1, len(charts), squeeze=False)[0]
    for axes, chart in zip(all_axes, charts, strict=True):
        _draw(axes, chart)
    entries = {
        _plain(series.label): handle
        for axes, chart in zip(all_axes, charts, strict=True)
        for series, handle in zip(chart.series, axes.lines, strict=False)
        if series.named
    }
    if entries:
        figure.legend(
            handles=list(entries.values()),
            labels=list(entries),
            loc="outside right upper",
            frameon=False,
            fontsize=8,
        )
    notes = {chart.note for chart in charts if chart.note}
    if notes:
        figure.supxlabel("; ".join(sorted(notes)), fontsize=9, color="#666666")
    figure.savefig(path, format="png")


def _draw(axes: "Axes", chart: Chart) -> None:
    for series in chart.series:
        if chart.front is None:
            _line(axes, series)
        else:
            _dot(axes, series)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label, ylim=chart.y_range)
    axes.title.set_fontsize(10)
    if chart.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    if chart.front is not None:
        _staircase(axes, chart)
        _write_labels(axes, chart.series)
    axes.grid(alpha=0.3)


def _line(axes: "Axes", series: Series) -> None:
    axes.plot(
        series.x,
        series.y,
        color=color(series),
        linestyle="--" if dashed(series) else "-",
        linewidth=1.6 if series.named else 0.8,
        marker="o" if len(series.x) <= _MAX_MARKED and series.named else "",
        markersize=2.5,
        zorder=3 if series.named else 2,
    )
    if series.named and series.low:
        axes.fill_between(series.x, series.low, series.high, color=color(series), alpha=0.12, linewidth=0)


def _dot(axes: "Axes", series: Series) -> None:
    axes.plot(
        series.x,
        series.y,
        color=color(series),
        linestyle="",
        marker="s" if dashed(series) else "o",
        markersize=7 if series.named else 4,
        zorder=3 if series.named else 2,
    )
    if series.named and series.low:
        axes.vlines(series.x, series.low, series.high, color=color(series), alpha=0.5, linewidth=1.2)


def _staircase(axes: "Axes", chart: Chart) -> None:
    """Draw the Pareto front: the best value that is reached for at most a given cost."""
    if not chart.front:
        return
    right = max(series.x[0] for series in chart.series)
    corners = [*chart.front, (right, chart.front[-1][1])]
    axes.step(*zip(*corners, strict=True), where="post", color="#888888", linewidth=1, zorder=1)


def _write_labels(axes: "Axes", named: Sequence[Series]) -> None:
    """Write labels next to the points if there are few points; more labels would overlap."""
    labelled = [series for series in named if series.named]
    if len(labelled) > _MAX_LABELLED:
        return
    axes.autoscale_view(scaley=False)
    for series in labelled:
        position = axes.transLimits.transform(axes.transScale.transform((series.x[0], series.y[0])))[0]
        on_left = position > 0.55
        axes.annotate(
            _plain(series.label),
            (series.x[0], series.y[0]),
            xytext=(-7 if on_left else 7, 5),
            textcoords="offset points",
            ha="right" if on_left else "left",
            fontsize=8,
        )


def _plain(label: str) -> str:
    """Wrap a label and escape dollar signs, because matplotlib reads text between dollar signs as a formula."""
    return fill(label, _LEGEND_WIDTH).replace("$", r"\$")


def _figure(width_in: float, height_in: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
