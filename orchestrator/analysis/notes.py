"""Writes the notes of a comparison: one-line warnings about incomplete runs and missing values."""

from collections.abc import Iterable, Sequence

from orchestrator.analysis.comparison import ComparisonRow
from orchestrator.analysis.options import COST_TITLES, METRIC_TITLES, METRICS, CompareOptions
from orchestrator.analysis.runs import ComparedRun
from orchestrator.formatting import counted

_MAX_NAMED = 5


def notes_on(rows: Sequence[ComparisonRow], options: CompareOptions) -> list[str]:
    """Return notes about unfinished runs, missing values, and results that are missing for these reasons."""
    runs = [run for row in rows for run in row.configuration.runs.values()]
    return [
        *_not_finished(runs),
        *_without_value(rows, options),
        *_not_on_front(rows, options),
        *_no_curve(rows),
    ]


def _not_finished(runs: Iterable[ComparedRun]) -> list[str]:
    affected = [
        f"{run.run_id} ({run.status} after {run.records[-1].round_idx + 1} of "
        f"{counted(run.config['training.rounds'], 'round')})"
        for run in runs
        if run.status != "finished" and run.records
    ]
    return [f"unfinished runs, compared at their last round: {_listed(affected)}"] if affected else []


def _without_value(rows: Iterable[ComparisonRow], options: CompareOptions) -> list[str]:
    name = METRICS[options.metric]
    return [
        f"{run.run_id} has no final {METRIC_TITLES[options.metric]}: "
        + (f"its last {name} is not finite" if _logged(run, name) else f"it never logged {name}")
        for row in rows
        for run, value in zip(row.configuration.runs.values(), row.final[options.metric].values, strict=True)
        if value is None
    ]


def _not_on_front(rows: Iterable[ComparisonRow], options: CompareOptions) -> list[str]:
    affected = [
        row.configuration.label
        for row in rows
        if row.final[options.metric].mean is None or row.totals[options.cost].mean is None
    ]
    what = f"{METRIC_TITLES[options.metric]} or no {COST_TITLES[options.cost]}"
    return (
        [f"not considered for the Pareto front, because a seed has no {what}: {_listed(affected)}"]
        if affected
        else []
    )


def _no_curve(rows: Iterable[ComparisonRow]) -> list[str]:
    affected = [row.configuration.label for row in rows if not row.curve]
    return (
        [f"without a curve, because no round was evaluated for all seeds: {_listed(affected)}"]
        if affected
        else []
    )


def _logged(run: ComparedRun, name: str) -> bool:
    return any(name in record.metrics for record in run.records)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"
