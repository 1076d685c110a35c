"""Draws lines of results with matplotlib, on the user's axes or on new axes of pyplot."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import RequestError
from orchestrator.suggest import suggest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: value of `x` that stands for the rounds
ROUND = "round"


def plot_rounds(
    frames: "Mapping[str, pd.DataFrame]", metric: str, x: str, axes: "Axes | None" = None
) -> "Axes":
    """Draw `metric` of each frame of rounds over the metric `x` (or `round`), one line per label.

    Raises RequestError when no frame has the metric or `x`.
    """
    existing = dict.fromkeys(name for frame in frames.values() for name in frame.columns)
    for field, name, choices in (("metric", metric, [*existing]), ("x", x, [*existing, ROUND])):
        if name not in choices:
            raise RequestError(field, name, "no round measured this metric", suggest(name, choices))
    if axes is None:
        from matplotlib import pyplot

        _, axes = pyplot.subplots()
    for label, frame in frames.items():
        points = frame.reset_index()
        if metric in points and x in points:
            points = points[[x, metric]].dropna()
            axes.plot(
                points[x], points[metric], label=label, marker="o" if len(points) <= 50 else "", markersize=3
            )
    axes.set(xlabel=x, ylabel=metric)
    axes.grid(alpha=0.3)
    if len(frames) > 1:
        axes.legend(frameon=False)
    return axes
