"""Computes the comparison of runs."""

from collections.abc import Mapping, Sequence

from orchestrator.analysis.baseline import find_baseline
from orchestrator.analysis.comparison import Comparison, ComparisonRow, TargetCost
from orchestrator.analysis.configurations import Configuration, group_runs
from orchestrator.analysis.curves import curve_of
from orchestrator.analysis.defaults import default_caps, default_targets
from orchestrator.analysis.measures import cost_to_reach, final_value, total, value_at_cap
from orchestrator.analysis.notes import notes_on
from orchestrator.analysis.options import COSTS, METRICS, CompareOptions, Cost, Metric
from orchestrator.analysis.pairing import PairedDifference, paired_difference
from orchestrator.analysis.pareto import pareto_front
from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import Spread, spread
from orchestrator.errors import RequestError
from orchestrator.tracking.record import RoundRecord

#: the records of each run of a configuration
Histories = Sequence[Sequence[RoundRecord]]


def compare(
    runs: Sequence[ComparedRun], options: CompareOptions | None = None, notes: Sequence[str] = ()
) -> Comparison:
    """Group the runs into configurations and compare the configurations.

    `notes` come before the notes of the comparison itself. Raises RequestError without runs, and for a baseline that
    matches no configuration or several.
    """
    if not runs:
        raise RequestError("RUN", "", "there is no run to compare", "name at least one run")
    options = options or CompareOptions()
    configurations, duplicates = group_runs(runs)
    baseline = None if options.baseline is None else find_baseline(options.baseline, configurations)
    histories = [[run.records for run in c.runs.values()] for c in configurations]
    finals, totals = [_finals(each) for each in histories], [_totals(each) for each in histories]
    caps = tuple(sorted(set(options.upload_caps))) or default_caps(each["upload"].mean for each in totals)
    targets = tuple(sorted(set(options.targets))) or default_targets(
        each[options.metric].mean for each in finals
    )
    differences, unpaired = _differences(configurations, baseline, options.metric)
    front = _front(
        [each[options.cost].mean for each in totals], [each[options.metric].mean for each in finals]
    )
    rows = [
        ComparisonRow(
            configuration=configuration,
            final=finals[idx],
            totals=totals[idx],
            at_caps=_at_caps(histories[idx], options.metric, caps),
            reached=_reached(histories[idx], options.metric, targets),
            difference=differences.get(configuration.label),
            on_front=idx in front,
            curve=curve_of(histories[idx], METRICS[options.metric]),
        )
        for idx, configuration in enumerate(configurations)
    ]
    order = options.order or options.metric
    rows.sort(key=lambda row: _rank(row, order))
    return Comparison(
        metric=options.metric,
        order=order,
        cost=options.cost,
        baseline=None if baseline is None else baseline.label,
        upload_caps=caps,
        targets=targets,
        rows=tuple(rows),
        notes=(*notes, *duplicates, *unpaired, *notes_on(rows, options)),
    )


def compare_by_data(
    runs: Sequence[ComparedRun], options: CompareOptions | None = None, notes: Sequence[str] = ()
) -> dict[str, Comparison]:
    """Compare the runs of each data set on their own; the keys are the values of `data.name`.

    Accuracies on different data sets have no common scale, so that no table, rank or picture may mix them. `notes` go
    to the first comparison. Raises RequestError as `compare` does.
    """
    by_data: dict[str, list[ComparedRun]] = {}
    for run in runs:
        by_data.setdefault(str(run.config["data.name"]), []).append(run)
    if not by_data:
        return {"": compare(runs, options, notes)}
    first = next(iter(by_data))
    return {name: compare(each, options, notes if name == first else ()) for name, each in by_data.items()}


def _finals(histories: Histories) -> dict[Metric, Spread]:
    return {
        metric: spread(final_value(history, name) for history in histories)
        for metric, name in METRICS.items()
    }


def _totals(histories: Histories) -> dict[Cost, Spread]:
    return {cost: spread(total(history, name) for history in histories) for cost, name in COSTS.items()}


def _at_caps(histories: Histories, metric: Metric, caps: Sequence[float]) -> tuple[Spread, ...]:
    name, cost = METRICS[metric], COSTS["upload"]
    return tuple(spread(value_at_cap(history, name, cost, cap) for history in histories) for cap in caps)


def _reached(histories: Histories, metric: Metric, targets: Sequence[float]) -> tuple[TargetCost, ...]:
    def cost_to(target: float, cost: Cost) -> Spread:
        return spread(cost_to_reach(history, METRICS[metric], COSTS[cost], target) for history in histories)

    return tuple(
        TargetCost(emulated_s=cost_to(t, "time"), upload_bytes=cost_to(t, "upload")) for t in targets
    )


def _differences(
    configurations: Sequence[Configuration], baseline: Configuration | None, metric: Metric
) -> tuple[Mapping[str, PairedDifference], list[str]]:
    """Return the differences from the baseline by label, and a note for each pair of runs that cannot be compared."""
    found: dict[str, PairedDifference] = {}
    notes: list[str] = []
    for configuration in configurations if baseline is not None else ():
        if baseline is None or configuration is baseline:
            continue
        found[configuration.label], own_notes = paired_difference(
            configuration, baseline, lambda run: final_value(run.records, METRICS[metric])
        )
        notes += own_notes
    return found, notes


def _front(costs: Sequence[float | None], values: Sequence[float | None]) -> set[int]:
    """Return the indices on the Pareto front, without the entries that have no cost or no value."""
    points = [
        (idx, (cost, value))
        for idx, (cost, value) in enumerate(zip(costs, values, strict=True))
        if cost is not None and value is not None
    ]
    return {points[position][0] for position in pareto_front([point for _, point in points])}


def _rank(row: ComparisonRow, metric: Metric) -> tuple[float, str]:
    mean = row.final[metric].mean
    return (float("inf") if mean is None else -mean, row.configuration.label)
