"""Creates HTML fragments of charts, which plotly draws in the browser."""

from collections.abc import Iterator
from html import escape
from textwrap import wrap
from typing import Any

from orchestrator.analysis.report.charts import Chart, Series
from orchestrator.analysis.report.styles import color, dashed

_MAX_MARKED = 40
_LEGEND_WIDTH = 34
_HEIGHT_PX = 500
#: plotly's default buttons include some that send the data to a server, so the buttons are listed
_BUTTONS = ("toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d")


def plotly_script() -> str:
    """Return the source of plotly.js for a script element of the page."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script


def chart_html(chart: Chart, element_id: str) -> str:
    """Return a div and its script. The page must contain `plotly_script` before this fragment."""
    from plotly.graph_objects import Figure
    from plotly.io import to_html

    figure = Figure(data=[trace for traces in _traces(chart) for trace in traces], layout=_layout(chart))
    text: str = to_html(
        figure,
        full_html=False,
        include_plotlyjs=False,
        include_mathjax=False,
        div_id=element_id,
        default_height=f"{_HEIGHT_PX}px",
        config={"displaylogo": False, "responsive": True, "modeBarButtons": [list(_BUTTONS)]},
    )
    return text


def _traces(chart: Chart) -> Iterator[list[dict[str, Any]]]:
    """Yield the traces from back to front: grey series must not cover coloured series."""
    if chart.front:
        yield [_staircase(chart)]
    for series in sorted(chart.series, key=lambda series: (series.named, series.rank)):
        if series.low and series.named and chart.front is None:
            yield [_band(series)]
        yield [_trace(series, chart)]


def _trace(series: Series, chart: Chart) -> dict[str, Any]:
    points = chart.front is not None
    marked = series.named and len(series.x) <= _MAX_MARKED
    size = (10 if series.named else 6) if points else 4
    return {
        "type": "scatter",
        "mode": "markers" if points else "lines+markers" if marked else "lines",
        "name": _markup(series.label),
        "legendgroup": str(series.rank),
        "showlegend": series.named,
        "x": list(series.x),
        "y": list(series.y),
        "error_y": _error(series) if points else None,
        "line": {
            "color": color(series),
            "width": 2 if series.named else 1,
            "dash": "dash" if dashed(series) else "solid",
        },
        "marker": {"color": color(series), "symbol": "square" if dashed(series) else "circle", "size": size},
        "customdata": [
            [round_idx, text] for round_idx, text in zip(series.rounds, _interval(series), strict=True)
        ],
        "hovertemplate": "<b>%{fullData.name}</b><br>round %{customdata[0]}<br>"
        f"{chart.x_label}: %{{x:.4g}}<br>{chart.y_label}: %{{y:.2%}}%{{customdata[1]}}<extra></extra>",
    }


def _markup(label: str) -> str:
    """Escape a label, because plotly reads labels as markup, and wrap it, so that the legend stays narrow."""
    return "<br>".join(escape(line, quote=False) for line in wrap(label, _LEGEND_WIDTH)) or " "


def _interval(series: Series) -> list[str]:
    if not series.low:
        return [""] * len(series.x)
    return [f" ± {50 * (high - low):.2f}" for low, high in zip(series.low, series.high, strict=True)]


def _error(series: Series) -> dict[str, Any] | None:
    if not (series.low and series.named):
        return None
    half = [(high - low) / 2 for low, high in zip(series.low, series.high, strict=True)]
    return {"array": half, "thickness": 1, "color": color(series)}


def _band(series: Series) -> dict[str, Any]:
    """Return a filled trace of the 95 % interval: along its upper end and back along its lower end."""
    red, green, blue = (int(color(series)[start : start + 2], 16) for start in (1, 3, 5))
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [*series.x, *reversed(series.x)],
        "y": [*series.high, *reversed(series.low)],
        "fill": "toself",
        "fillcolor": f"rgba({red},{green},{blue},0.12)",
        "line": {"width": 0},
        "legendgroup": str(series.rank),
        "showlegend": False,
        "hoverinfo": "skip",
    }


def _staircase(chart: Chart) -> dict[str, Any]:
    front = chart.front or ()
    right = max(series.x[0] for series in chart.series)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [*(x for x, _ in front), right],
        "y": [*(y for _, y in front), front[-1][1]],
        "line": {"shape": "hv", "color": "#888888", "width": 1},
        "hoverinfo": "skip",
    }


def _layout(chart: Chart) -> dict[str, Any]:
    """Return the layout without a title, because the page shows the title above the chart."""
    axis = {"gridcolor": "#e6e6e6", "zeroline": False, "linecolor": "#999999"}
    return {
        "template": "none",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222222"},
        "margin": {"l": 64, "r": 16, "t": 32, "b": 52},
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": chart.x_label}, "type": "log" if chart.log_x else "linear"},
        "yaxis": {
            **axis,
            "title": {"text": chart.y_label},
            "tickformat": ".0%",
            "range": list(chart.y_range),
        },
        "legend": {"font": {"size": 12}, "tracegroupgap": 0, "x": 1.01, "xanchor": "left", "y": 1},
    }
