"""Draws charts as SVG elements of the HTML page, with a label at the end of each line.

Each series is a group with the attribute `data-i`, its rank. The page's script highlights and hides groups by it.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise

from orchestrator.analysis.report.charts import Chart, Distribution, Series
from orchestrator.analysis.report.label_layout import Box, place_labels, spread_rows
from orchestrator.analysis.report.styles import Look
from orchestrator.analysis.report.svg_marks import marker, path, text, text_width
from orchestrator.analysis.report.svg_scale import Scale, x_scale

_WIDTH, _LEFT, _TOP, _BOTTOM = 1100, 58, 12, 46
_ROW = 14.5
#: most markers on a line
_MAX_MARKERS = 12
_LABEL_LENGTH = 40


def chart_svg(chart: Chart, *, width: int = _WIDTH, height: int = 420, labelled: bool = True) -> str:
    """Return the chart as an `svg` element. Without `labelled`, lines and points have no label."""
    named = [series for series in chart.series if series.named] if labelled else []
    if chart.front is None:
        height = max(height, int(_ROW * len(named)) + _TOP + _BOTTOM + 20)
    has_column = chart.front is None and _ends_together(named)
    column = max((text_width(_short(series.label)) for series in named), default=0.0) + 26
    right = width - (column if has_column else 14)
    xs = [x for series in chart.series for x in series.x]
    x = x_scale(xs, _LEFT, right, log=chart.log_x)
    low, high = chart.y_range
    y = Scale(low=low, high=high, start=height - _BOTTOM, end=_TOP)
    parts = list(_axes(chart, x, y, right, height))
    if chart.front is not None:
        parts += _points(chart, x, y, Box(_LEFT, _TOP, right, height - _BOTTOM), labelled=labelled)
    else:
        parts += _lines(chart, x, y, Box(_LEFT, _TOP, right, height - _BOTTOM), named)
    label = escape(f"{chart.title}: {len(chart.series)} configurations", quote=True)
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def _axes(chart: Chart, x: Scale, y: Scale, right: float, height: int) -> Iterator[str]:
    bottom = height - _BOTTOM
    for tick in y.ticks():
        yield path([(_LEFT, y(tick)), (right, y(tick))], "grid")
        yield text(_LEFT - 7, y(tick) + 4, f"{100 * tick:.3g}%", "tick", "end")
    last = -1e9
    for tick in x.ticks():
        words = f"{tick:,.10g}" if abs(tick) < 1e6 else f"{tick:.3g}"
        yield path([(x(tick), _TOP), (x(tick), bottom)], "grid")
        if x(tick) - last > text_width(words) + 8:
            yield text(x(tick), bottom + 17, words, "tick", "middle")
            last = x(tick)
    if x.zero is not None:
        yield path([(x.zero, _TOP), (x.zero, bottom)], "grid")
        yield text(x.zero, bottom + 17, "0", "tick", "middle")
    yield path([(_LEFT, bottom), (right, bottom)], "axis")
    yield text((_LEFT + right) / 2, height - 8, chart.x_label, "title", "middle")
    yield text(_LEFT - 46, _TOP + 2, chart.y_label, "title ylabel", "end")


def _ends_together(named: Sequence[Series]) -> bool:
    """Whether all lines end at the same x, so that their labels form a column to the right of the chart."""
    return len({series.x[-1] for series in named}) == 1


def _lines(chart: Chart, x: Scale, y: Scale, area: Box, named: Sequence[Series]) -> list[str]:
    order = sorted(chart.series, key=lambda series: (series.named, -series.rank))
    ends = [(x(series.x[-1]), y(series.y[-1])) for series in named]
    labels: dict[int, list[str]] = {}
    if _ends_together(named):
        rows = spread_rows([end_y for _, end_y in ends], _ROW, _TOP + 6, y.start - 2)
        for series, (end_x, end_y), row in zip(named, ends, rows, strict=True):
            lead = [(end_x + 4, end_y), (area.right + 4, row), (area.right + 10, row)]
            words = text(area.right + 13, row + 4, _short(series.label), "label", "start", fill=series.color)
            labels[series.rank] = [path(lead, "leader", stroke=series.color), words]
    else:
        widths = [text_width(_short(series.label)) for series in named]
        shown: list[Box] = []
        for series, end, box in zip(named, ends, place_labels(ends, widths, 14.0, area, 4.0), strict=True):
            if not any(box.overlaps(other) for other in shown):  # the legend names the line
                shown.append(box)
                labels[series.rank] = _point_label(series, end, box)
    lines = [_line(series, chart, x, y) for series in order]
    # labels come last, so that no line covers them
    return [*lines, *(_group(rank, parts) for rank, parts in labels.items())]


def _line(series: Series, chart: Chart, x: Scale, y: Scale) -> str:
    points = [(x(a), y(b)) for a, b in zip(series.x, series.y, strict=True)]
    parts = []
    if series.low and series.named:
        upper = [(x(a), y(min(b, y.high))) for a, b in zip(series.x, series.high, strict=True)]
        lower = [(x(a), y(max(b, y.low))) for a, b in zip(series.x, series.low, strict=True)]
        parts.append(path([*upper, *reversed(lower)], "band", closed=True, fill=series.color))
    dashes = series.look.dashes if series.named else ()
    parts.append(path(points, "line" if series.named else "line thin", stroke=series.color, dashes=dashes))
    if series.named:
        step = max(1, -(-len(points) // _MAX_MARKERS))
        marked = range(len(points) - 1, -1, -step)
        parts += [_marker(series, chart, idx, points[idx], 3.4) for idx in marked]
    return _group(series.rank, parts)


def _points(chart: Chart, x: Scale, y: Scale, area: Box, *, labelled: bool) -> list[str]:
    parts = []
    if chart.front:
        corners = list(chart.front)
        stairs = [(x(corners[0][0]), y(corners[0][1]))]
        for (_, before), (cost, value) in pairwise(corners):
            stairs += [(x(cost), y(before)), (x(cost), y(value))]
        parts.append(path([*stairs, (area.right, stairs[-1][1])], "front"))
    named = [series for series in chart.series if series.named]
    spots = [(x(series.x[0]), y(series.y[0])) for series in named]
    widths = [text_width(_short(series.label)) for series in named]
    boxes = place_labels(spots, widths, 14.0, area, 6.0) if labelled else []
    for series in chart.series:
        if not series.named:
            parts.append(
                _group(series.rank, [_marker(series, chart, 0, (x(series.x[0]), y(series.y[0])), 2.5)])
            )
    for idx, series in enumerate(named):
        spot, own = spots[idx], []
        if series.low:
            ends = [(spot[0], y(max(series.low[0], y.low))), (spot[0], y(min(series.high[0], y.high)))]
            own.append(path(ends, "error", stroke=series.color))
        own.append(_marker(series, chart, 0, spot, 6.0))
        if labelled:
            own += _point_label(series, spot, boxes[idx])
        parts.append(_group(series.rank, own))
    return parts


def _point_label(series: Series, spot: tuple[float, float], box: Box) -> list[str]:
    is_right = box.left > spot[0]
    edge, middle = (box.left if is_right else box.right), (box.top + box.bottom) / 2
    parts = []
    if abs(middle - spot[1]) > 8:
        parts.append(path([spot, (edge, middle)], "leader", stroke=series.color))
    anchor = "start" if is_right else "end"
    parts.append(text(edge, middle + 4, _short(series.label), "label halo", anchor, fill=series.color))
    return parts


def _marker(series: Series, chart: Chart, idx: int, spot: tuple[float, float], size: float) -> str:
    tip = (
        f"{series.label}\nround {series.rounds[idx]}\n"
        f"{chart.x_label}: {series.x[idx]:.4g}\n{chart.y_label}: {series.y[idx]:.2%}{_interval(series, idx)}"
    )
    return marker(series.look.marker, *spot, size, series.color, tip)


def _interval(series: Series, idx: int) -> str:
    return f" ± {50 * (series.high[idx] - series.low[idx]):.2f}" if series.low else ""


def fairness_svg(distributions: Sequence[Distribution]) -> str:
    """Return a row per configuration: 10th to 90th percentile, quartiles, median and minimum over clients."""
    names = [_short(each.label) for each in distributions]
    left = max((text_width(name) for name in names), default=0.0) + 20
    height = int(20 * len(names)) + _BOTTOM + _TOP
    low = min((float(each.values[0]) for each in distributions), default=0.0)
    x = Scale(low=max(0.0, low - 0.02), high=1.0, start=left, end=_WIDTH - 20)
    bottom = height - _BOTTOM
    parts = []
    for tick in x.ticks():
        parts.append(path([(x(tick), _TOP), (x(tick), bottom)], "grid"))
        parts.append(text(x(tick), bottom + 17, f"{100 * tick:.3g}%", "tick", "middle"))
    parts.append(text((left + _WIDTH) / 2, height - 8, "accuracy of a client", "title", "middle"))
    for row, (each, name) in enumerate(zip(distributions, names, strict=True)):
        parts.append(_distribution(each, name, _TOP + 20 * row + 10, left, x))
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Accuracy over clients">{"".join(parts)}</svg>'
    )


def _distribution(each: Distribution, name: str, y: float, left: float, x: Scale) -> str:
    num = len(each.values)

    def at(share: float) -> float:
        position = share * (num - 1)
        below = int(position)
        above = min(below + 1, num - 1)
        return float(each.values[below] + (position - below) * (each.values[above] - each.values[below]))

    color = each.look.color
    tip = f"{each.label}\nmedian {at(0.5):.2%}, worst {at(0.0):.2%}, 10th percentile {at(0.1):.2%}, {num} clients"
    box = [(x(at(0.25)), y - 5), (x(at(0.75)), y - 5), (x(at(0.75)), y + 5), (x(at(0.25)), y + 5)]
    return _group(
        each.rank,
        [
            text(left - 10, y + 4, name, "label", "end", fill=color),
            path([(x(at(0.1)), y), (x(at(0.9)), y)], "line", stroke=color),
            path(box, "box", closed=True, fill=color),
            path([(x(at(0.5)), y - 7), (x(at(0.5)), y + 7)], "line", stroke=color),
            marker("o", x(at(0.0)), y, 2.5, color, tip),
            marker(each.look.marker, x(float(each.values.mean())), y, 4.0, color, tip),
        ],
    )


def swatch(look: Look) -> str:
    """Return a small picture of a look, for the legend."""
    line = path([(1, 7), (29, 7)], "line", stroke=look.color, dashes=look.dashes)
    return f'<svg class="swatch" viewBox="0 0 30 14">{line}{marker(look.marker, 15, 7, 4.2, look.color, "")}</svg>'


def _group(rank: int, parts: Sequence[str]) -> str:
    return f'<g class="s" data-i="{rank}">{"".join(parts)}</g>'


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"
