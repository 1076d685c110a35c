"""Draws accuracy against upload: one panel for each setting of the study `frontier`, with the names of all arms."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.analysis.pareto import pareto_front
from orchestrator.analysis.report.label_layout import spread_rows
from orchestrator.analysis.report.styles import COLORS, family_of
from orchestrator.studies.board.stored import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: the study whose outcomes are drawn, and their measure
_STUDY, _METRIC = "frontier", "personal_accuracy"
#: size of a panel in inches, and of a label in points
_WIDTH, _HEIGHT, _FONT = 8.6, 7.0, 7.5
#: distance of the labels' column from the panel, and of a label from the next, as shares of width and height
_COLUMN, _GAP = 1.05, 0.0225
#: the axis of upload is linear up to this number of megabytes, so that methods without upload have a place
_LINEAR_MB = 0.1
#: arms below this accuracy would press all others together; their labels name their accuracy
_LOWEST = 0.82


def write_frontier_picture(outcomes: Sequence[Row], path: Path) -> bool:
    """Write a PNG file with the outcomes of the study; False, and no file, if none of them is stored."""
    from matplotlib.figure import Figure

    rows = [row for row in outcomes if row["study"] == _STUDY and row["metric"] == _METRIC and row["mean"]]
    settings = list(dict.fromkeys((row["scale"], row["setting"]) for row in rows if row["at"] == "end"))
    if not settings:
        return False
    figure = Figure(figsize=(_WIDTH * len(settings), _HEIGHT))
    num = len(settings)
    figure.subplots_adjust(0.075 / num, 0.07, 1.0 - 0.36 / num, 0.95, wspace=0.65)
    panels = figure.subplots(1, num, squeeze=False)[0]
    for panel, (scale, setting) in zip(panels, settings, strict=True):
        own = [row for row in rows if (row["scale"], row["setting"], row["at"]) == (scale, setting, "end")]
        _draw(panel, own)
        seeds = {row["num_seeds"] for row in own}
        panel.set_title(f"{setting} ({scale}, {' or '.join(sorted(seeds))} seeds)", fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    return True


def _draw(panel: "Axes", rows: Sequence[Row]) -> None:
    families = list(dict.fromkeys(sorted(family_of(row["method"]) for row in rows)))
    colors = dict(zip(families, COLORS, strict=False))
    points = [(float(row["upload_bytes"]), float(row["mean"])) for row in rows]
    front = pareto_front(points)
    shown = [(upload / 1e6, max(100.0 * mean, 100.0 * _LOWEST)) for upload, mean in points]
    panel.set_xscale("symlog", linthresh=_LINEAR_MB)
    panel.set_xlim(-0.1 * _LINEAR_MB, 2.0 * max(_LINEAR_MB, *(x for x, _ in shown)))
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_ylim(100.0 * _LOWEST - 0.5, max(y for _, y in shown) + 1.0)
    for row, (x, y) in zip(rows, shown, strict=True):
        half = 100.0 * float(row["half_width"] or 0.0)
        color = colors[family_of(row["method"])]
        panel.errorbar(x, y, half, color=color, marker="o", markersize=5, elinewidth=0.7, alpha=0.9)
    corners = sorted(shown[idx] for idx in front)
    panel.step(*zip(*corners, strict=True), where="post", color="#333333", linewidth=1.0, zorder=0)
    _label(panel, rows, shown, front, colors)
    panel.set_xlabel("upload of a run, MB")
    panel.set_ylabel("personal accuracy, %; bars: 95 % intervals")
    panel.grid(alpha=0.25)
    for family, color in colors.items():
        panel.plot([], [], "o", color=color, label=family)
    panel.legend(loc="upper left", fontsize=_FONT, framealpha=0.9)


def _label(
    panel: "Axes",
    rows: Sequence[Row],
    shown: Sequence[tuple[float, float]],
    front: Sequence[int],
    colors: dict[str, str],
) -> None:
    """Write the names in a column next to the panel, and join each with its point. Names on the front are bold."""
    low, high = panel.get_ylim()
    wanted = [1.0 - (y - low) / (high - low) for _, y in shown]
    places = spread_rows(wanted, _GAP, 0.0, 1.0)
    for idx, (row, point, place) in enumerate(zip(rows, shown, places, strict=True)):
        is_hidden = float(row["mean"]) < _LOWEST
        panel.annotate(
            f"{row['label']} ({100.0 * float(row['mean']):.1f} %)" if is_hidden else row["label"],
            point,
            (_COLUMN, 1.0 - place),
            textcoords="axes fraction",
            fontsize=_FONT,
            fontweight="bold" if idx in front else "normal",
            color=colors[family_of(row["method"])],
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0.0, 0.5),
                "color": colors[family_of(row["method"])],
                "alpha": 0.35,
                "lw": 0.6,
            },
        )
