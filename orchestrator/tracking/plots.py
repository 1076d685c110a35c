"""Plots of a run, without a display and without matplotlib's global state."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tracking.record import RoundRecord

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_MAX_COLUMNS = 600
_MAX_BARS = 60
_IMAGE_ROWS = 600
_MAX_CLASSES_NAMED = 20
_ACCURACIES = {"eval/accuracy": "global model", "personal/accuracy_mean": "mean over clients"}


def plot_partition(partition: Path, path: Path) -> None:
    """Plot the stacked class counts of each client, from a `partition.parquet`, as PNG.

    Up to 60 clients are in order of their ids; more clients are ordered by their most frequent class, then by size.
    Of more than 600 clients, the plot shows 600 evenly spaced ones, and its title says so.
    """
    import numpy as np
    from pyarrow import parquet

    table = parquet.read_table(partition)
    classes = [name.removeprefix("class_") for name in table.column_names if name.startswith("class_")]
    counts = np.column_stack([table[f"class_{name}"].to_numpy() for name in classes])  # int[clients, classes]
    num_clients = len(counts)
    shown = counts[np.unique(np.linspace(0, num_clients - 1, min(num_clients, _MAX_COLUMNS)).astype(int))]

    figure = _figure(11, 4, right_in=_legend_width_in(len(classes)))
    axes = figure.add_subplot()
    if num_clients <= _MAX_BARS:
        _bars(axes, shown, classes)
        axes.set_xlabel("client")
    else:
        _columns(axes, shown[np.lexsort((-shown.sum(axis=1), shown.argmax(axis=1)))], classes)
        axes.set_xlabel("clients, ordered by their most frequent class")
    _class_legend(axes, classes)
    part = f", {len(shown)} of them shown" if len(shown) < num_clients else ""
    axes.set_title(f"{counts.sum():,} training samples over {num_clients:,} clients{part}")
    axes.set(ylabel="training samples", xlim=(-0.5, len(shown) - 0.5))
    _whole_numbers(axes)
    figure.savefig(path)


def _bars(axes: "Axes", counts: "NDArray[np.int64]", classes: Sequence[str]) -> None:
    """Add one collection of rectangles per class; `Axes.bar` would add one artist per rectangle, which is slower."""
    import numpy as np
    from matplotlib.collections import PolyCollection

    colors = _palette(len(classes))
    tops = counts.cumsum(axis=1)
    left = np.arange(len(counts)) - 0.425
    x = np.stack([left, left, left + 0.85, left + 0.85], axis=1)
    for idx in range(len(classes)):
        top, bottom = tops[:, idx], tops[:, idx] - counts[:, idx]
        corners = np.stack([x, np.stack([bottom, top, top, bottom], axis=1)], axis=2)  # [clients, 4, 2]
        axes.add_collection(PolyCollection(list(corners), facecolors=[colors(idx)]), autolim=False)
    axes.set_ylim(0, 1.05 * max(int(tops.max()), 1))


def _columns(axes: "Axes", counts: "NDArray[np.int64]", classes: Sequence[str]) -> None:
    """Like `_bars` without gaps, but as one image, because thousands of shapes would take seconds."""
    import numpy as np

    tops = counts.cumsum(axis=1)
    highest = max(int(tops.max()), 1)
    heights = (np.arange(_IMAGE_ROWS) + 0.5) * highest / _IMAGE_ROWS
    class_indices = np.stack(
        [np.searchsorted(top, heights, side="right") for top in tops], axis=1
    )  # [rows, columns]
    axes.imshow(
        np.ma.masked_equal(class_indices, len(classes)),
        cmap=_palette(len(classes)),
        vmin=-0.5,
        vmax=len(classes) - 0.5,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, len(counts) - 0.5, 0, highest),
    )
    axes.set_ylim(0, 1.05 * highest)


def _legend_width_in(num_classes: int) -> float:
    return 1.0 if num_classes <= 10 else 1.7 if num_classes <= _MAX_CLASSES_NAMED else 0.2


def _class_legend(axes: "Axes", classes: Sequence[str]) -> None:
    """Add a legend, with the top class of the bars first, or a colour bar when there are too many classes."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Patch

    colors = _palette(len(classes))
    if len(classes) <= _MAX_CLASSES_NAMED:
        patches = [Patch(color=colors(idx), label=name) for idx, name in enumerate(classes)]
        num_columns = 1 if len(classes) <= 10 else 2
        axes.legend(
            handles=patches[::-1],
            title="class",
            frameon=False,
            ncols=num_columns,
            loc="center left",
            bbox_to_anchor=(1, 0.5),
        )
    else:
        axes.figure.colorbar(ScalarMappable(Normalize(0, len(classes) - 1), colors), ax=axes, label="class")


def _palette(num_classes: int) -> "Colormap":
    """Return a colour map whose first `num_classes` entries are the colours of the classes."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    if num_classes > _MAX_CLASSES_NAMED:
        return colormaps["viridis"].resampled(num_classes)
    named = colormaps["tab10" if num_classes <= 10 else "tab20"]
    return ListedColormap([named(idx) for idx in range(num_classes)])


def plot_curves(records: Sequence[RoundRecord], path: Path) -> None:
    """Plot accuracy over rounds, accuracy over uploaded bytes, and density over rounds, as PNG.

    The figure has no panels without points. When no panel has a point, the function writes no file.
    """
    panels = [
        ("round", "accuracy", [(label, _points(records, name)) for name, label in _ACCURACIES.items()]),
        (
            "upload so far, MB",
            "accuracy",
            [(label, _by_upload(records, name)) for name, label in _ACCURACIES.items()],
        ),
        ("round", "density of the global model", [("density", _points(records, "sparsity/density"))]),
    ]
    panels = [panel for panel in panels if any(points for _, points in panel[2])]
    if not panels:
        return
    figure = _figure(4.4 * len(panels), 3.6, num_panels=len(panels))
    for position, (xlabel, ylabel, series) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), position)
        for index, (label, points) in enumerate(series):
            if points:
                marker = "o" if len(points) <= 50 else ""
                axes.plot(
                    *zip(*points, strict=True), label=label, color=f"C{index}", marker=marker, markersize=3
                )
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        if len(series) > 1:
            axes.legend(frameon=False)
        if xlabel == "round":
            _whole_numbers(axes)
    figure.savefig(path)


def _points(records: Sequence[RoundRecord], name: str) -> list[tuple[float, float]]:
    return [(record.round_idx, record.metrics[name]) for record in records if name in record.metrics]


def _by_upload(records: Sequence[RoundRecord], name: str) -> list[tuple[float, float]]:
    total = "comm/upload_bytes_total"
    return [
        (record.metrics[total] / 1e6, record.metrics[name])
        for record in records
        if name in record.metrics and total in record.metrics
    ]


def _whole_numbers(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _figure(width_in: float, height_in: float, *, num_panels: int = 1, right_in: float = 0.2) -> "Figure":
    """Create a figure with fixed margins, because an automatic layout would double the time to draw it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left_in, gap_in = 0.75, 0.8
    figure = Figure(figsize=(width_in, height_in), dpi=110)
    figure.subplots_adjust(
        left=left_in / width_in,
        right=1 - right_in / width_in,
        bottom=0.55 / height_in,
        top=1 - 0.4 / height_in,
        wspace=gap_in / ((width_in - left_in - right_in - gap_in * (num_panels - 1)) / num_panels),
    )
    FigureCanvasAgg(figure)
    return figure
