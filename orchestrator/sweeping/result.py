"""The result of a sweep: its configurations, ranked by the objective."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf, isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from orchestrator.analysis.pareto import pareto_front
from orchestrator.formatting import format_bytes, format_seconds
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective, ObjectiveMetric
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationResult:
    """The result of one configuration over its trials, which differ in the seed only.

    `objective` is the mean of each metric over the trials, and `accuracy` the mean accuracy of the global models on the
    central test set. `objective` and the other means are None when a trial has no value. `statuses` and `run_ids` are
    in the order of the trials.
    """

    label: str
    values: Mapping[str, Any]
    statuses: tuple[str, ...]
    run_ids: tuple[str, ...]
    objective: Mapping[str, float] | None
    accuracy: float | None
    upload_bytes: float | None
    emulated_s: float | None
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """The result of a sweep. `configurations` are in order, best first; a Pareto sweep has its front first.

    `wall_s` is the wall-clock time from the first trial to the end of tracking, in seconds. `tracking_s` is the part of
    that time in which the sweep's process called MLflow tracking or waited for it. `notes` are lines about how the
    sweep ranks its configurations.
    """

    sweep_id: str
    folder: Path
    objective: str
    num_trials: int
    num_finished: int
    num_stopped: int
    num_failed: int
    interrupted: bool
    configurations: tuple[ConfigurationResult, ...]
    wall_s: float = 0.0
    tracking_s: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> ConfigurationResult | None:
        """The best configuration that has an objective; None when there is no such configuration."""
        return next((found for found in self.configurations if found.objective is not None), None)

    def to_json(self) -> str:
        """Return one JSON object. Infinite and NaN values become null, such as the time to an unreached accuracy."""
        return json.dumps(
            _non_finite_to_none({**asdict(self), "folder": str(self.folder)}), indent=2, allow_nan=False
        )


def _non_finite_to_none(value: Any) -> Any:
    """Replace infinities and NaN in a tree of plain values by None, because JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: _non_finite_to_none(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_non_finite_to_none(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def read_result(
    store: SweepStore,
    objective: Objective,
    trials: Sequence[TrialSpec],
    num_trials: int,
    *,
    interrupted: bool,
) -> SweepResult:
    """Read the results of the trials from the sweep's folder; `num_trials` is the planned number of trials."""
    endings = store.endings()
    groups: dict[str, list[TrialSpec]] = {}
    for planned in trials:
        ending = endings.get(planned.number)
        trial = planned if ending is None else TrialSpec(number=planned.number, values=ending.values)
        key = json.dumps({k: v for k, v in trial.values.items() if k != "seed"}, sort_keys=True)
        groups.setdefault(key, []).append(trial)
    configurations = [
        _configuration(store, objective, group, [endings[t.number] for t in group if t.number in endings])
        for group in groups.values()
    ]
    counts = Counter(ending.status for ending in endings.values())
    return SweepResult(
        sweep_id=store.sweep_id,
        folder=store.folder,
        objective=objective.text,
        num_trials=num_trials,
        num_finished=counts["finished"],
        num_stopped=counts["stopped"],
        num_failed=counts["failed"],
        interrupted=interrupted,
        configurations=tuple(_ranked(configurations, objective.metrics)),
        notes=() if objective.note is None else (objective.note,),
    )


def _configuration(
    store: SweepStore, objective: Objective, group: Sequence[TrialSpec], endings: Sequence[Ending]
) -> ConfigurationResult:
    has_objective = len(endings) == len(group) and all(ending.objective for ending in endings)
    names = [metric.name for metric in objective.metrics]
    run_ids = [ending.run_id for ending in endings if ending.run_id is not None]
    summaries = [RunSummary.read(store.folder / run_id / "summary.json") for run_id in run_ids]
    accuracies = [summary.accuracy for summary in summaries if summary.accuracy is not None]
    has_summaries = len(summaries) == len(group)
    return ConfigurationResult(
        label=group[0].configuration,
        values={key: value for key, value in group[0].values.items() if key != "seed"},
        statuses=tuple(ending.status for ending in endings),
        run_ids=tuple(run_ids),
        objective={name: fmean(ending.objective[name] for ending in endings) for name in names}
        if has_objective
        else None,
        accuracy=fmean(accuracies) if accuracies and len(accuracies) == len(group) else None,
        upload_bytes=fmean(summary.upload_bytes_total for summary in summaries) if has_summaries else None,
        emulated_s=fmean(summary.emulated_s_total for summary in summaries) if has_summaries else None,
    )


def _ranked(
    configurations: Sequence[ConfigurationResult], metrics: Sequence[ObjectiveMetric]
) -> list[ConfigurationResult]:
    """Sort the configurations and mark the best: finished ones first, then stopped ones, then failed ones."""

    def rank(configuration: ConfigurationResult) -> tuple[Any, ...]:
        if configuration.objective is None:
            return (2,)
        stopped = "stopped" in configuration.statuses
        return (int(stopped), *(metric.key(configuration.objective[metric.name]) for metric in metrics))

    ordered = sorted(configurations, key=rank)
    valued = [each for each in ordered if each.objective is not None]
    if len(metrics) == 1:
        best = {id(valued[0])} if valued else set()
    else:
        gain, cost = metrics
        points = [(each.objective[cost.name], each.objective[gain.name]) for each in valued if each.objective]
        front = pareto_front(points)
        best = {id(valued[index]) for index in front}
    marked = [replace(each, is_best=id(each) in best) for each in ordered]
    return sorted(marked, key=lambda each: not each.is_best) if len(metrics) > 1 else marked


def result_table(result: SweepResult, max_rows: int = 20) -> Table:
    """Return a table of the first `max_rows` configurations, best first, with the best configurations marked."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("configuration", overflow="fold", min_width=12)
    metrics = list(result.best.objective) if result.best is not None and result.best.objective else []
    names = [name.replace("_", " ") for name in metrics]
    test = [] if "test_accuracy" in metrics else ["test accuracy"]
    headings = [*names, *test, "upload", "emulated", "trials"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=heading in ("upload", "emulated"))
    for configuration in result.configurations[:max_rows]:
        mark = "best" if configuration.is_best else ""
        table.add_row(mark, configuration.label, *_cells(configuration, metrics))
    if len(result.configurations) > max_rows:
        table.caption = f"the first {max_rows} of {len(result.configurations)}"
    return table


def _cells(configuration: ConfigurationResult, metrics: Sequence[str]) -> list[str]:
    upload, emulated_s = configuration.upload_bytes, configuration.emulated_s
    return [
        *(_metric_text(configuration, name) for name in metrics),
        *([] if "test_accuracy" in metrics else [_percent(configuration.accuracy)]),
        "-" if upload is None else format_bytes(upload),
        "-" if emulated_s is None else format_seconds(emulated_s),
        _status_counts(configuration),
    ]


def _metric_text(configuration: ConfigurationResult, name: str) -> str:
    if configuration.objective is None:
        return "-"
    value = configuration.objective[name]
    if value == inf:
        return "never"
    if "bytes" in name:
        return format_bytes(value)
    return format_seconds(value) if name.endswith("_s") else _percent(value)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f}%"


def _status_counts(configuration: ConfigurationResult) -> str:
    counts = Counter(configuration.statuses)
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "not ended"
