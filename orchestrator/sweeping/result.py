"""The result of a sweep: its configurations, ranked by the objective."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, get_args

from orchestrator.analysis.pareto import pareto_front
from orchestrator.errors import RequestError
from orchestrator.formatting import counted
from orchestrator.results.html import html_table
from orchestrator.results.plots import ROUND, plot_rounds
from orchestrator.results.run_result import RunResult
from orchestrator.storage.folders import is_run
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective, ObjectiveMetric, with_data
from orchestrator.sweeping.request import ADAPTIVE, SweepRequest
from orchestrator.sweeping.store import Ending, SweepStore
from orchestrator.sweeping.trial_specs import TrialSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

#: tables of a sweep
SweepTable = Literal["trials", "rounds", "clients"]
#: config key of the data set; results on different data sets are never compared or averaged
DATA_KEY = "data.name"
#: configurations that the text of a result shows
MAX_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationResult:
    """The result of one configuration over its trials, which differ in the seed only.

    `objective` is the mean of each metric over the trials, `accuracy` the mean accuracy of the global models on the
    central test set, and `personal_accuracy` that of the clients' own models on their test parts. `objective` and the
    other means are None when a trial has no value. `statuses` and `run_ids` are in the order of the trials.
    `is_best` marks the best configuration, or the Pareto front, of each data set.
    """

    label: str
    values: Mapping[str, Any]
    statuses: tuple[str, ...]
    run_ids: tuple[str, ...]
    objective: Mapping[str, float] | None
    accuracy: float | None
    upload_bytes: float | None
    emulated_s: float | None
    personal_accuracy: float | None = None
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SweepResult:
    """The result of a sweep. A notebook shows the object as a table.

    `configurations` are in order, best first; a Pareto sweep has its front first. `wall_s` is the wall-clock time from
    the first trial to the end of tracking, in seconds. `tracking_s` is the part of that time in which the sweep's
    process called MLflow tracking or waited for it. `notes` are lines about how the sweep ranks its configurations.
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

    @property
    def runs(self) -> list[RunResult]:
        """The current run of each trial that has one, in the order of the trials."""
        return [run for _, _, run in self._trials() if run is not None]

    def to_dataframe(self, table: SweepTable = "trials") -> "pd.DataFrame":
        """Return a table of the sweep.

        - `trials`: one row per trial (index `trial`): its status, the values that vary, the objective, and the fields
          of the run's summary. The values of a trial without a run are missing.
        - `rounds`, `clients`: the tables of all trials' runs (see RunResult), with the index `trial` in front.

        Raises RequestError for another name.
        """
        import pandas as pd

        if table not in get_args(SweepTable):
            remedy = f"use one of {', '.join(get_args(SweepTable))}"
            raise RequestError("table", table, "a sweep has no such table", remedy)
        if table == "trials":
            rows = [_trial_row(trial, ending, run) for trial, ending, run in self._trials()]
            return pd.DataFrame(rows).set_index("trial") if rows else pd.DataFrame()
        runs = {trial.number: run for trial, _, run in self._trials() if run is not None}
        frames = [run.to_dataframe(table) for run in runs.values()]
        return pd.concat(frames, keys=runs.keys(), names=["trial"]) if frames else pd.DataFrame()

    def plot(self, metric: str = "eval/accuracy", x: str = ROUND, axes: "Axes | None" = None) -> "Axes":
        """Draw a metric of every trial's run over the rounds or over another metric; see RunResult.plot."""
        frames = {trial.name: run.to_dataframe() for trial, _, run in self._trials() if run is not None}
        return plot_rounds(frames, metric, x, axes)

    def _trials(self) -> Iterator[tuple[TrialSpec, Ending | None, RunResult | None]]:
        """Yield each trial with its ending and its current run, as the sweep's folder has them now."""
        store = SweepStore(self.folder)
        endings = store.endings()
        for trial in store.trials():
            folder = store.run_folder(trial.number)
            run = RunResult.load(folder) if is_run(folder) else None
            ending = endings.get(trial.number)
            current = trial if ending is None else TrialSpec(number=trial.number, values=ending.values)
            yield current, ending, run

    def __repr__(self) -> str:
        """The sweep, its best configurations, and its folder."""
        lines = [f"{self._title()}, ranked by {self.objective}"]
        lines += [f"{each.label}: {_objective_text(each)}" for each in self.configurations[:MAX_SHOWN]]
        return "\n  ".join([*lines, *self._more(), str(self.folder)])

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        rows = [
            ("best" if each.is_best else "", each.label, _objective_text(each), ", ".join(each.statuses))
            for each in self.configurations[:MAX_SHOWN]
        ]
        title = " ".join([f"{self._title()} in {self.folder}", *self._more()])
        return html_table(title, ("", "configuration", self.objective, "trials"), rows)

    def _title(self) -> str:
        counts = f"{self.num_finished} of {counted(self.num_trials, 'trial')} finished"
        others = {"stopped early": self.num_stopped, "failed": self.num_failed}
        return ", ".join(
            [f"{self.sweep_id}: {counts}", *(f"{number} {name}" for name, number in others.items() if number)]
        )

    def _more(self) -> list[str]:
        num_hidden = len(self.configurations) - MAX_SHOWN
        return [f"and {counted(num_hidden, 'configuration')} more"] if num_hidden > 0 else []

    def to_json(self) -> str:
        """Return one JSON object. Infinite and NaN values become null, such as the time to an unreached accuracy."""
        return json.dumps(
            _non_finite_to_none({**asdict(self), "folder": str(self.folder)}), indent=2, allow_nan=False
        )


def _trial_row(trial: TrialSpec, ending: Ending | None, run: RunResult | None) -> dict[str, Any]:
    """The row of a trial. A field of the summary does not replace a varied key or an objective of the same name."""
    row = {
        "trial": trial.number,
        "status": "unfinished" if ending is None else ending.status,
        **trial.values,
        **({} if ending is None else ending.objective),
    }
    return row if run is None else row | {k: v for k, v in run.to_dict().items() if k not in row}


def _objective_text(configuration: ConfigurationResult) -> str:
    if configuration.objective is None:
        return "no result"
    return ", ".join(f"{name} {value:.4g}" for name, value in configuration.objective.items())


def _non_finite_to_none(value: Any) -> Any:
    """Replace infinities and NaN in a tree of plain values by None, because JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {key: _non_finite_to_none(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_non_finite_to_none(inner) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def load_result(folder: Path) -> SweepResult:
    """Read a sweep's folder, also of a sweep that still runs or was killed; `interrupted` is then True.

    Raises CheckpointError for unreadable files.
    """
    store = SweepStore(folder)
    request = SweepRequest.model_validate(store.about()["request"])
    objective = Objective.parse(with_data(request.objective))
    trials = store.trials()
    num_trials = request.samples * request.seeds if request.search in ADAPTIVE else len(trials)
    has_ended = len(store.endings()) >= num_trials
    return read_result(store, objective, trials, num_trials, interrupted=not has_ended)


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
    has_summaries = len(summaries) == len(group)
    return ConfigurationResult(
        label=group[0].configuration,
        values={key: value for key, value in group[0].values.items() if key != "seed"},
        statuses=tuple(ending.status for ending in endings),
        run_ids=tuple(run_ids),
        objective={name: fmean(ending.objective[name] for ending in endings) for name in names}
        if has_objective
        else None,
        accuracy=_mean_of_all([summary.accuracy for summary in summaries], len(group)),
        personal_accuracy=_mean_of_all([summary.personal_accuracy for summary in summaries], len(group)),
        upload_bytes=fmean(summary.upload_bytes_total for summary in summaries) if has_summaries else None,
        emulated_s=fmean(summary.emulated_s_total for summary in summaries) if has_summaries else None,
    )


def _mean_of_all(values: Sequence[float | None], num_trials: int) -> float | None:
    """Return the mean; None if a trial has no value."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == num_trials else None


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
    by_data: dict[str, list[ConfigurationResult]] = {}
    for each in ordered:
        if each.objective is not None:
            by_data.setdefault(str(each.values.get(DATA_KEY)), []).append(each)
    # results on different data sets cannot be compared, so each data set has its own best configuration
    best = {id(each) for valued in by_data.values() for each in _best(valued, metrics)}
    marked = [replace(each, is_best=id(each) in best) for each in ordered]
    return sorted(marked, key=lambda each: not each.is_best) if len(metrics) > 1 else marked


def _best(
    valued: Sequence[ConfigurationResult], metrics: Sequence[ObjectiveMetric]
) -> list[ConfigurationResult]:
    """Return the first of the ranked configurations, or the Pareto front of two metrics."""
    if len(metrics) == 1:
        return [valued[0]]
    gain, cost = metrics
    points = [(each.objective[cost.name], each.objective[gain.name]) for each in valued if each.objective]
    return [valued[index] for index in pareto_front(points)]
