"""One look for a configuration in all charts: ten colours, solid and then dashed."""

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
    """As #rrggbb."""
    return _COLORS[series.rank % len(_COLORS)] if series.named else _GREY


def dashed(series: Series) -> bool:
    """Whether it is the second one with its colour; as a point it is a square then, not a disc."""
    return series.named and series.rank >= len(_COLORS)
