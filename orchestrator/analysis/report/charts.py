"""Computes the charts of a comparison, independently of the library that draws them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.comparison import Comparison, ComparisonRow
from orchestrator.analysis.options import COST_TITLES, COSTS, METRIC_TITLES, Cost
from orchestrator.analysis.report.axes import Axis, cost_axis, is_logarithmic
from orchestrator.analysis.report.styles import GREY, Look, looks_of
from orchestrator.analysis.runs import ComparedRun

#: number of configurations that have a look and a label of their own
MAX_NAMED = 40
#: seeds from which on intervals are drawn; the interval of two seeds is too wide to say anything
MIN_SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of one configuration.

    - `rank`: position in the comparison; 0 is the best configuration.
    - `low`, `high`: ends of the 95 % intervals of `y`; empty for fewer than three seeds.
    - `rounds`: round of each point, 0-based.
    """

    label: str
    rank: int
    look: Look
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    rounds: tuple[int, ...]

    @property
    def named(self) -> bool:
        """Whether the series has a look and a legend entry; other series are grey."""
        return self.rank < MAX_NAMED

    @property
    def color(self) -> str:
        """The colour as #rrggbb."""
        return self.look.color if self.named else GREY


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart of lines, or of single points if `front` is given.

    - `log_x`: whether the x axis is logarithmic. A value of 0 is drawn left of the axis.
    - `series`: y values are fractions in [0, 1]; intervals may extend beyond.
    - `front`: corners of the Pareto front by ascending cost; None for a chart of lines.
    - `note`: text about the configurations that have no legend entry; empty if all have one.
    """

    title: str
    x_label: str
    y_label: str
    log_x: bool
    series: tuple[Series, ...]
    front: tuple[tuple[float, float], ...] | None
    note: str

    @property
    def y_range(self) -> tuple[float, float]:
        """The range of the y axis: all points and all intervals of named series, limited to [0, 1], with a margin."""
        ends = [y for s in self.series for y in (*s.y, *((*s.low, *s.high) if s.named else ()))]
        low, high = max(0.0, min(ends, default=0.0)), min(1.0, max(ends, default=1.0))
        margin = max(0.01, 0.05 * (high - low))
        return max(0.0, low - margin), high + margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """The accuracies of all clients of a configuration, float64[n] in ascending order, over all seeds."""

    label: str
    rank: int
    look: Look
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]"


def fairness_of(comparison: Comparison) -> list[Distribution]:
    """Return the distribution of each configuration whose runs have recorded their clients' accuracies."""
    looks = looks_of([row.configuration for row in comparison.rows])
    found = []
    for rank, (row, look) in enumerate(zip(comparison.rows, looks, strict=True)):
        values = [value for run in row.configuration.runs.values() for value in run.client_accuracy]
        if values and rank < MAX_NAMED:
            label = row.configuration.label
            found.append(Distribution(label=label, rank=rank, look=look, values=np.sort(np.array(values))))
    return found


def curve_charts(comparison: Comparison) -> dict[str, Chart]:
    """Return the charts of the metric by round (key "round") and by each cost (key: name of the cost)."""
    metric, looks = METRIC_TITLES[comparison.metric], looks_of([row.configuration for row in comparison.rows])
    charts = {
        "round": Chart(
            title=f"{metric} by round",
            x_label="round",
            y_label=metric,
            log_x=False,
            series=tuple(
                _curve(row, rank, looks[rank], None, Axis())
                for rank, row in enumerate(comparison.rows)
                if row.curve
            ),
            front=None,
            note=_note(comparison),
        )
    }
    return charts | {cost: _cost_chart(comparison, cost, looks) for cost in COSTS}


def pareto_chart(comparison: Comparison) -> Chart:
    """Return the chart of final mean metric against mean cost, with a point per configuration that has both."""
    metric, cost = comparison.metric, comparison.cost
    axis = cost_axis(cost, [row.totals[cost].mean or 0.0 for row in comparison.rows])
    looks = looks_of([row.configuration for row in comparison.rows])
    points = [_point(row, rank, looks[rank], comparison, axis) for rank, row in enumerate(comparison.rows)]
    series = [point for point in points if point is not None]
    front = {(s.x[0], s.y[0]) for s in series if comparison.rows[s.rank].on_front}
    return Chart(
        title=f"{METRIC_TITLES[metric]} and {COST_TITLES[cost]}, Pareto front",
        x_label=axis.label,
        y_label=f"final {METRIC_TITLES[metric]}",
        log_x=is_logarithmic(cost, (x for s in series for x in s.x)),
        series=tuple(series),
        front=tuple(sorted(front)),
        note=_note(comparison),
    )


def _cost_chart(comparison: Comparison, cost: Cost, looks: Sequence[Look]) -> Chart:
    metric = METRIC_TITLES[comparison.metric]
    points = [point for row in comparison.rows for point in row.curve]
    axis = cost_axis(cost, [point.costs.get(cost, 0.0) for point in points])
    curves = [_curve(row, rank, looks[rank], cost, axis) for rank, row in enumerate(comparison.rows)]
    series = tuple(curve for curve in curves if curve.x)
    return Chart(
        title=f"{metric} by {COST_TITLES[cost]}",
        x_label=axis.label,
        y_label=metric,
        log_x=is_logarithmic(cost, (x for curve in series for x in curve.x)),
        series=series,
        front=None,
        note=_note(comparison),
    )


def _curve(row: ComparisonRow, rank: int, look: Look, cost: Cost | None, axis: Axis) -> Series:
    """Return a row's curve over a cost, or over rounds if `cost` is None, without points that have no such cost."""
    points = [point for point in row.curve if cost is None or cost in point.costs]
    is_wide = len(row.configuration.runs) < MIN_SEEDS
    with_interval = [(p.mean, p.half_width) for p in points if p.half_width is not None and not is_wide]
    return Series(
        label=row.configuration.label,
        rank=rank,
        look=look,
        x=tuple(p.round_idx if cost is None else p.costs[cost] / axis.unit for p in points),
        y=tuple(point.mean for point in points),
        low=tuple(mean - half for mean, half in with_interval),
        high=tuple(mean + half for mean, half in with_interval),
        rounds=tuple(point.round_idx for point in points),
    )


def _point(row: ComparisonRow, rank: int, look: Look, comparison: Comparison, axis: Axis) -> Series | None:
    final, cost = row.final[comparison.metric], row.totals[comparison.cost].mean
    if final.mean is None or cost is None:
        return None
    is_wide = len(row.configuration.runs) < MIN_SEEDS
    half = () if final.half_width is None or is_wide else (final.half_width,)
    return Series(
        label=row.configuration.label,
        rank=rank,
        look=look,
        x=(cost / axis.unit,),
        y=(final.mean,),
        low=tuple(final.mean - width for width in half),
        high=tuple(final.mean + width for width in half),
        rounds=_last_round(row.configuration.runs.values()),
    )


def _last_round(runs: Iterable[ComparedRun]) -> tuple[int]:
    return (max(run.records[-1].round_idx for run in runs),)


def _note(comparison: Comparison) -> str:
    num = len(comparison.rows)
    if num <= MAX_NAMED:
        return ""
    return f"the best {MAX_NAMED} of {num} configurations are named, the others are grey"
