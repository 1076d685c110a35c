"""Gives each configuration the same style in all charts: ten colours, first with solid, then with dashed lines."""

from orchestrator.analysis.report.charts import Series

_COLORS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#17becf",
    "#bcbd22",
    "#333333",
)
_GREY = "#c4c4c4"


def color(series: Series) -> str:
    """Return the colour of a series as #rrggbb."""
    return _COLORS[series.rank % len(_COLORS)] if series.named else _GREY


def dashed(series: Series) -> bool:
    """Whether a series is the second with its colour: its line is dashed, and its points are squares."""
    return series.named and series.rank >= len(_COLORS)
