"""What a sweep came to: its configurations in the order of the objective."""

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
from orchestrator.sweeping.objective import Goal, Objective
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trials import TrialSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationResult:
    """One configuration: its trials' endings, and each goal's mean over them (None where a trial failed)."""

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
    """Configurations, best first; of a Pareto sweep those on the front are the best.

    `wall_s` is the time from the first trial to the last report, `tracking_s` the part of it in which the sweep's
    process was at work for MLflow, or waited for it.
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

    @property
    def best(self) -> ConfigurationResult | None:
        """The first configuration with a value; None when all trials failed."""
        return next((found for found in self.configurations if found.objective is not None), None)

    def to_json(self) -> str:
        """One JSON object; what is not finite, as a time that was never reached, is null."""
        return json.dumps(_finite({**asdict(self), "folder": str(self.folder)}), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    """A tree of plain values without infinities and NaN, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def result_of(
    store: SweepStore,
    objective: Objective,
    trials: Sequence[TrialSpec],
    num_trials: int,
    *,
    interrupted: bool,
) -> SweepResult:
    """Read what the trials came to off the sweep's folder; `num_trials` are those that it is to have."""
    endings = store.endings()
    groups: dict[str, list[TrialSpec]] = {}
    for planned in trials:
        ending = endings.get(planned.number)
        trial = planned if ending is None else TrialSpec(number=planned.number, values=ending.values)
        key = json.dumps({k: v for k, v in trial.values.items() if k != "seed"}, sort_keys=True)
        groups.setdefault(key, []).append(trial)
    found = [
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
        configurations=tuple(_ranked(found, objective.goals)),
    )


def _configuration(
    store: SweepStore, objective: Objective, group: Sequence[TrialSpec], endings: Sequence[Ending]
) -> ConfigurationResult:
    whole = len(endings) == len(group) and all(ending.objective for ending in endings)
    names = [goal.name for goal in objective.goals]
    run_ids = [ending.run_id for ending in endings if ending.run_id is not None]
    summaries = [RunSummary.read(store.folder / run_id / "summary.json") for run_id in run_ids]
    accuracies = [summary.accuracy for summary in summaries if summary.accuracy is not None]
    complete = len(summaries) == len(group)
    return ConfigurationResult(
        label=group[0].configuration,
        values={key: value for key, value in group[0].values.items() if key != "seed"},
        statuses=tuple(ending.status for ending in endings),
        run_ids=tuple(run_ids),
        objective={name: fmean(ending.objective[name] for ending in endings) for name in names}
        if whole
        else None,
        accuracy=fmean(accuracies) if accuracies and len(accuracies) == len(group) else None,
        upload_bytes=fmean(summary.upload_bytes_total for summary in summaries) if complete else None,
        emulated_s=fmean(summary.emulated_s_total for summary in summaries) if complete else None,
    )


def _ranked(found: Sequence[ConfigurationResult], goals: Sequence[Goal]) -> list[ConfigurationResult]:
    """Best first; configurations that stopped early come after those that ran to their end, failed ones last."""

    def rank(one: ConfigurationResult) -> tuple[Any, ...]:
        if one.objective is None:
            return (2,)
        stopped = "stopped" in one.statuses
        return (int(stopped), *(goal.key(one.objective[goal.name]) for goal in goals))

    ordered = sorted(found, key=rank)
    valued = [one for one in ordered if one.objective is not None]
    if len(goals) == 1:
        best = {id(valued[0])} if valued else set()
    else:
        gain, cost = goals
        points = [(one.objective[cost.name], one.objective[gain.name]) for one in valued if one.objective]
        front = pareto_front(points)
        best = {id(valued[index]) for index in front}
    marked = [replace(one, is_best=id(one) in best) for one in ordered]
    return sorted(marked, key=lambda one: not one.is_best) if len(goals) > 1 else marked


def result_table(result: SweepResult, most: int = 20) -> Table:
    """The first `most` configurations, best first, the best marked."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("configuration", overflow="fold", min_width=12)
    goals = list(result.best.objective) if result.best is not None and result.best.objective else []
    headings = [*goals, *([] if "accuracy" in goals else ["accuracy"]), "upload", "emulated", "trials"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=heading != "trials")
    for one in result.configurations[:most]:
        values = [_goal(one, name) for name in goals]
        accuracy = [] if "accuracy" in goals else [_percent(one.accuracy)]
        upload = "-" if one.upload_bytes is None else format_bytes(one.upload_bytes)
        emulated = "-" if one.emulated_s is None else format_seconds(one.emulated_s)
        table.add_row(
            "best" if one.is_best else "", one.label, *values, *accuracy, upload, emulated, _states(one)
        )
    if len(result.configurations) > most:
        table.caption = f"the first {most} of {len(result.configurations)}"
    return table


def _goal(one: ConfigurationResult, name: str) -> str:
    if one.objective is None:
        return "-"
    value = one.objective[name]
    if value == inf:
        return "never"
    if "bytes" in name:
        return format_bytes(value)
    return format_seconds(value) if name.endswith("_s") else _percent(value)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}%"


def _states(one: ConfigurationResult) -> str:
    counts = Counter(one.statuses)
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "not ended"
