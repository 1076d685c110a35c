"""Draws charts as PNG, PDF and SVG files, without a display and without matplotlib's global state."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.analysis.report.charts import Chart, Distribution, Series
from orchestrator.analysis.report.label_layout import Box, place_labels
from orchestrator.analysis.report.svg_scale import log_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

#: endings of the files of a figure
FORMATS = (".png", ".pdf", ".svg")
_MAX_MARKERS = 12
_LONGEST_LABEL = 60
_PANEL_IN = (5.4, 3.9)
#: inches of a row and of a character of the legend
_LEGEND_ROW_IN, _CHARACTER_IN = 0.185, 0.078


def draw_charts(charts: Sequence[Chart], path: Path) -> list[Path]:
    """Draw charts in rows of two with a common legend below. Writes `path` with each ending; returns the files.

    A chart of points has the labels at its points, and no legend.
    """
    num_columns = min(2, len(charts))
    num_rows = -(-len(charts) // num_columns)
    width_in, height_in = num_columns * _PANEL_IN[0], num_rows * _PANEL_IN[1]
    if charts[0].front is not None:
        width_in, height_in = 9.5, 6.2
    series = {s.rank: s for s in chain.from_iterable(chart.series for chart in charts) if s.named}
    entries = [series[rank] for rank in sorted(series)] if charts[0].front is None else []
    longest = max((len(_plain(entry.label)) for entry in entries), default=1)
    legend_columns = max(1, int(width_in / (_CHARACTER_IN * longest + 0.65)))
    legend_in = _LEGEND_ROW_IN * -(-len(entries) // legend_columns) + (0.15 if entries else 0.0)
    figure = _figure(width_in, height_in + legend_in)
    all_axes = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for axes, chart in zip(all_axes, charts, strict=False):
        _draw(axes, chart)
    for axes in all_axes[len(charts) :]:
        axes.set_axis_off()
    if entries:
        figure.legend(
            handles=[_handle(entry) for entry in entries],
            labels=[_plain(entry.label) for entry in entries],
            loc="outside lower center",
            ncols=legend_columns,
            frameon=False,
            fontsize=8,
        )
    notes = {chart.note for chart in charts if chart.note}
    if notes:
        figure.suptitle("; ".join(sorted(notes)), fontsize=9, color="#666666")
    if charts[0].front is not None:
        _write_labels(figure, all_axes[0], charts[0])
    return _save(figure, path)


def draw_fairness(distributions: Sequence[Distribution], path: Path) -> list[Path]:
    """Draw the distribution of client accuracy of each configuration; returns the files."""
    figure = _figure(9.5, 0.9 + 0.27 * len(distributions))
    axes = figure.subplots()
    boxes = axes.boxplot(
        [each.values for each in distributions],
        orientation="horizontal",
        whis=(10, 90),
        showfliers=False,
        patch_artist=True,
        widths=0.6,
        medianprops={"color": "#222222"},
    )
    for box, each in zip(boxes["boxes"], distributions, strict=True):
        box.set(facecolor=each.look.color, alpha=0.5)
    for row, each in enumerate(distributions, 1):
        axes.plot(each.values.mean(), row, marker=each.look.marker, color=each.look.color, markersize=6)
        axes.plot(each.values[0], row, marker=".", color=each.look.color)
    axes.set_yticks(
        range(1, len(distributions) + 1), [_plain(each.label) for each in distributions], fontsize=8
    )
    axes.invert_yaxis()
    axes.set(xlabel="accuracy of a client: quartiles, median, 10th to 90th percentile; dot: worst client")
    axes.grid(axis="x", alpha=0.3)
    return _save(figure, path)


def _save(figure: "Figure", path: Path) -> list[Path]:
    paths = [path.with_suffix(ending) for ending in FORMATS]
    for file in paths:
        figure.savefig(file, format=file.suffix.removeprefix("."))
    return paths


def _draw(axes: "Axes", chart: Chart) -> None:
    for series in sorted(chart.series, key=lambda series: (series.named, -series.rank)):
        if chart.front is None:
            _line(axes, series)
        else:
            _dot(axes, series)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label, ylim=chart.y_range)
    axes.title.set_fontsize(10)
    if chart.log_x:
        _make_logarithmic(axes, [x for series in chart.series for x in series.x])
    if chart.front:
        _staircase(axes, chart)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    axes.grid(alpha=0.3)


def _make_logarithmic(axes: "Axes", values: Sequence[float]) -> None:
    """Make the x axis logarithmic; with values of 0, it is linear between 0 and the smallest positive value."""
    smallest = min(value for value in values if value > 0.0)
    if min(values) > 0.0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=smallest, linscale=0.5)
        axes.set_xlim(left=-0.1 * smallest)
    ticks = log_ticks(smallest, max(values))
    axes.set_xticks(ticks if min(values) > 0.0 else [0.0, *ticks])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")


def _line(axes: "Axes", series: Series) -> None:
    axes.plot(series.x, series.y, zorder=3 if series.named else 2, **_style(series, len(series.x)))
    if series.named and series.low:
        axes.fill_between(series.x, series.low, series.high, color=series.color, alpha=0.12, linewidth=0)


def _style(series: Series, num_points: int) -> dict[str, Any]:
    if not series.named:
        return {"color": series.color, "linewidth": 0.8}
    return {
        "color": series.color,
        "linestyle": (0, series.look.dashes) if series.look.dashes else "-",
        "linewidth": 1.5,
        "marker": series.look.marker,
        "markersize": 4,
        "markevery": max(1, -(-num_points // _MAX_MARKERS)),
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def _handle(series: Series) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], **_style(series, 1))


def _dot(axes: "Axes", series: Series) -> None:
    axes.plot(
        series.x,
        series.y,
        color=series.color,
        linestyle="",
        marker=series.look.marker if series.named else ".",
        markersize=7 if series.named else 4,
        zorder=3 if series.named else 2,
    )
    if series.named and series.low:
        axes.vlines(series.x, series.low, series.high, color=series.color, alpha=0.5, linewidth=1.2)


def _staircase(axes: "Axes", chart: Chart) -> None:
    """Draw the Pareto front: the best value that is reached for at most a given cost."""
    front = chart.front or ()
    right = max(series.x[0] for series in chart.series)
    corners = [*front, (right, front[-1][1])]
    axes.step(*zip(*corners, strict=True), where="post", color="#888888", linewidth=1, zorder=1)


def _write_labels(figure: "Figure", axes: "Axes", chart: Chart) -> None:
    """Write the labels next to their points, where they cover neither points nor each other."""
    named = [series for series in chart.series if series.named]
    figure.draw_without_rendering()
    points = [(series.x[0], series.y[0]) for series in named]
    pixels = axes.transData.transform(points).tolist() if points else []
    scale = 72.0 / figure.dpi  # points per pixel
    spots = [(x * scale, -y * scale) for x, y in pixels]
    extent = axes.get_window_extent()
    area = Box(extent.x0 * scale, -extent.y1 * scale, extent.x1 * scale, -extent.y0 * scale)
    widths = [4.4 * len(_plain(series.label)) for series in named]
    for series, spot, box in zip(named, spots, place_labels(spots, widths, 9.5, area, 4.5), strict=True):
        is_right = box.left > spot[0]
        target = (box.left if is_right else box.right, (box.top + box.bottom) / 2)
        offset = (target[0] - spot[0], spot[1] - target[1])
        axes.annotate(
            _plain(series.label),
            (series.x[0], series.y[0]),
            xytext=offset,
            textcoords="offset points",
            ha="left" if is_right else "right",
            va="center",
            fontsize=8,
            color=series.color,
            arrowprops={"arrowstyle": "-", "color": series.color, "alpha": 0.4, "linewidth": 0.6}
            if abs(offset[1]) > 6
            else None,
        )


def _plain(label: str) -> str:
    """Cut a long label, and escape dollar signs, because matplotlib reads text between dollar signs as a formula."""
    cut = label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"
    return cut.replace("$", r"\$")


def _figure(width_in: float, height_in: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
