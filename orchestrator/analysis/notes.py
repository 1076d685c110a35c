"""What to beware of in a comparison, in one line each."""

from collections.abc import Iterable, Sequence

from orchestrator.analysis.comparison import ComparisonRow
from orchestrator.analysis.options import COST_TITLES, METRIC_TITLES, METRICS, CompareOptions
from orchestrator.analysis.runs import ComparedRun

_MAX_NAMED = 5


def notes_on(rows: Sequence[ComparisonRow], options: CompareOptions) -> list[str]:
    """Runs that did not finish, values that are missing, and what could therefore not be computed."""
    runs = [run for row in rows for run in row.configuration.runs.values()]
    return [
        *_not_finished(runs),
        *_without_value(rows, options),
        *_not_weighed(rows, options),
        *_no_curve(rows),
    ]


def _not_finished(runs: Iterable[ComparedRun]) -> list[str]:
    some = [
        f"{run.run_id} ({run.status} after {run.records[-1].round_idx + 1} of "
        f"{run.config['training.rounds']} rounds)"
        for run in runs
        if run.status != "finished" and run.records
    ]
    return [f"compared at the last round that they have: {_listed(some)}"] if some else []


def _without_value(rows: Iterable[ComparisonRow], options: CompareOptions) -> list[str]:
    name = METRICS[options.metric]
    return [
        f"{run.run_id} has no final {METRIC_TITLES[options.metric]}: "
        + (f"its last {name} is not finite" if _logged(run, name) else f"it never logged {name}")
        for row in rows
        for run, value in zip(row.configuration.runs.values(), row.final[options.metric].values, strict=True)
        if value is None
    ]


def _not_weighed(rows: Iterable[ComparisonRow], options: CompareOptions) -> list[str]:
    some = [
        row.configuration.label
        for row in rows
        if row.final[options.metric].mean is None or row.totals[options.cost].mean is None
    ]
    what = f"{METRIC_TITLES[options.metric]} and {COST_TITLES[options.cost]}"
    return [f"not on the Pareto front, for want of {what} of every seed: {_listed(some)}"] if some else []


def _no_curve(rows: Iterable[ComparisonRow]) -> list[str]:
    some = [row.configuration.label for row in rows if not row.curve]
    return (
        [f"without a curve, for want of a round that every seed was evaluated at: {_listed(some)}"]
        if some
        else []
    )


def _logged(run: ComparedRun, name: str) -> bool:
    return any(name in record.metrics for record in run.records)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"
