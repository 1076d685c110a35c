"""What there is to draw of a comparison, whoever draws it."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.analysis.comparison import Comparison, ComparisonRow
from orchestrator.analysis.options import COST_TITLES, COSTS, METRIC_TITLES, Cost
from orchestrator.analysis.report.axes import Axis, cost_axis, spread_out
from orchestrator.analysis.runs import ComparedRun

#: as many configurations can be told apart by colour and line
MAX_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A configuration's points; `rank` is its place in the comparison, 0 the best.

    `low` and `high` are the ends of the 95 % intervals of `y`, empty with a single seed; `rounds` are 0-based.
    """

    label: str
    rank: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    rounds: tuple[int, ...]

    @property
    def named(self) -> bool:
        """Whether it has a colour and a place in the legend; the others are grey."""
        return self.rank < MAX_NAMED


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Lines, or single points where `front` is given: the corners of the Pareto front, by rising cost.

    `note` says what part of the configurations is named, and is empty when all are. `log_x` asks for a
    logarithmic x axis. y is a share in [0, 1]; intervals may reach beyond.
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
        """From below the lowest to above the highest point or end of a named interval, within [0, 1]."""
        ends = [y for s in self.series for y in (*s.y, *((*s.low, *s.high) if s.named else ()))]
        low, high = max(0.0, min(ends, default=0.0)), min(1.0, max(ends, default=1.0))
        margin = max(0.01, 0.05 * (high - low))
        return max(0.0, low - margin), high + margin


def curve_charts(comparison: Comparison) -> dict[str, Chart]:
    """The metric against the round and against each cost, by "round" and by the name of the cost."""
    metric = METRIC_TITLES[comparison.metric]
    charts = {
        "round": Chart(
            title=f"{metric} by round",
            x_label="round",
            y_label=metric,
            log_x=False,
            series=tuple(
                _curve(row, rank, None, Axis()) for rank, row in enumerate(comparison.rows) if row.curve
            ),
            front=None,
            note=_note(comparison),
        )
    }
    return charts | {cost: _cost_chart(comparison, cost) for cost in COSTS}


def pareto_chart(comparison: Comparison) -> Chart:
    """Final mean metric against mean cost, a point for each configuration that has both."""
    metric, cost = comparison.metric, comparison.cost
    axis = cost_axis(cost, [row.totals[cost].mean or 0.0 for row in comparison.rows])
    points = [_point(row, rank, comparison, axis) for rank, row in enumerate(comparison.rows)]
    series = [point for point in points if point is not None]
    front = {(s.x[0], s.y[0]) for s in series if comparison.rows[s.rank].on_front}
    return Chart(
        title=f"{METRIC_TITLES[metric]} and {COST_TITLES[cost]}, Pareto front",
        x_label=axis.label,
        y_label=f"final {METRIC_TITLES[metric]}",
        log_x=spread_out(x for s in series for x in s.x),
        series=tuple(series),
        front=tuple(sorted(front)),
        note=_note(comparison),
    )


def _cost_chart(comparison: Comparison, cost: Cost) -> Chart:
    metric = METRIC_TITLES[comparison.metric]
    points = [point for row in comparison.rows for point in row.curve]
    axis = cost_axis(cost, [point.costs.get(cost, 0.0) for point in points])
    curves = [_curve(row, rank, cost, axis) for rank, row in enumerate(comparison.rows)]
    series = tuple(curve for curve in curves if curve.x)
    return Chart(
        title=f"{metric} by {COST_TITLES[cost]}",
        x_label=axis.label,
        y_label=metric,
        log_x=spread_out(curve.x[-1] for curve in series) and all(curve.x[0] > 0 for curve in series),
        series=series,
        front=None,
        note=_note(comparison),
    )


def _curve(row: ComparisonRow, rank: int, cost: Cost | None, axis: Axis) -> Series:
    """A row's curve over rounds (None) or over a cost, at the points that have that cost."""
    points = [point for point in row.curve if cost is None or cost in point.costs]
    with_interval = [(p.mean, p.half_width) for p in points if p.half_width is not None]
    return Series(
        label=row.configuration.label,
        rank=rank,
        x=tuple(p.round_idx if cost is None else p.costs[cost] / axis.unit for p in points),
        y=tuple(point.mean for point in points),
        low=tuple(mean - half for mean, half in with_interval),
        high=tuple(mean + half for mean, half in with_interval),
        rounds=tuple(point.round_idx for point in points),
    )


def _point(row: ComparisonRow, rank: int, comparison: Comparison, axis: Axis) -> Series | None:
    final, cost = row.final[comparison.metric], row.totals[comparison.cost].mean
    if final.mean is None or cost is None:
        return None
    half = () if final.half_width is None else (final.half_width,)
    return Series(
        label=row.configuration.label,
        rank=rank,
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
