"""The public Python functions. Each function does the same as the command of its name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.display.callbacks import CallbackDisplay, RunCallback
from orchestrator.display.run_progress import Progress
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.results.run_result import RunResult
from orchestrator.runtime import session
from orchestrator.runtime.run_execution import Display
from orchestrator.storage.folders import is_sweep
from orchestrator.storage.lookup import find_run, find_sweep, storage_folder
from orchestrator.sweeping.request import SweepRequest, as_option_error

if TYPE_CHECKING:
    from ray import tune

    from orchestrator.analysis.selection import SelectedRuns
    from orchestrator.results.comparison_result import ComparisonResult
    from orchestrator.sweeping.result import SweepResult


def run(
    config: ExperimentConfig,
    display: Display | None = None,
    *,
    callbacks: Sequence[RunCallback] = (),
) -> RunResult:
    """Run an experiment in a new folder, and return its result when the run has ended.

    `callbacks` get the metrics of each round and the result (see RunCallback). The function works in any thread,
    several times in one process, and inside a Ray task or actor, whose Ray it uses.

    Without a `display`, the function shows a progress bar on standard error.
    Raises RequestError for an invalid request, and another SparsefleetError when the run fails.
    """
    storage = config.runtime.storage.resolve()
    shown = CallbackDisplay(display or Progress(), callbacks)
    summary = session.run(config, shown)
    return shown.end(RunResult.from_summary(summary, storage / summary.run_id))


def resume(
    run: str | Path,
    overrides: Sequence[str] = (),
    display: Display | None = None,
    *,
    storage: str | Path | None = None,
    accept_changed_code: bool = False,
    callbacks: Sequence[RunCallback] = (),
) -> RunResult:
    """Resume a run from its last checkpoint, and return its result.

    `run` is the run's folder, or its id in the folder `storage` (None: `runtime.storage` of the overrides, else
    `runs`). `overrides` are `KEY=VALUE` strings; only training.rounds,
    training.stop.patience, data.max_gib and the keys of runtime and tracking may change.
    With `accept_changed_code`, the run continues although a file of a method or model has changed.
    Raises ConfigError for any other override and for changed code, and CheckpointError when the run cannot be resumed.
    """
    folder = find_run(str(run), storage_folder(_path(storage), overrides))
    shown = CallbackDisplay(display or Progress(), callbacks)
    summary = session.resume(folder, list(overrides), shown, accept_changed_code=accept_changed_code)
    return shown.end(RunResult.from_summary(summary, folder))


def load_run(run: str | Path, *, storage: str | Path | None = None) -> RunResult:
    """Return the result of an earlier run, or the results so far of a run that trains or was killed.

    `run` is the run's folder, or its id in the folder `storage` (None: `runs`). Raises ConfigError when there is no
    such run, and CheckpointError for unreadable files.
    """
    return RunResult.load(find_run(str(run), storage_folder(_path(storage))))


def sweep(
    space: str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    display: SweepProgress | None = None,
    verbose: bool = False,
    **options: Any,
) -> "SweepResult":
    """Run the trials of a search space, and return all trials with their ranking.

    `space` is a name that `sparsefleet list spaces` shows, a `.py` file, or a mapping. The mapping and `overrides` map
    config keys to one value for all trials, or to a list of values or a domain such as `tune.loguniform(0.01, 0.1)`,
    which add a dimension. `config` is a nested config tree that all trials start from. `options` are the fields of
    SweepRequest: search, scheduler, objective, num_samples, seeds, max_concurrent, grace_rounds, perturb_rounds.
    Without a `display`, the function shows a progress bar. A failed trial does not end the sweep; the result reports
    the failure. Raises RequestError for an invalid request.
    """
    from orchestrator.sweeping.inline import inline_overrides, storable
    from orchestrator.sweeping.tune.session import sweep as run_sweep

    in_space = {} if isinstance(space, str) else inline_overrides(space)
    fields = {
        "space": space if isinstance(space, str) else None,
        "overrides": {**in_space, **{key: storable(key, value) for key, value in (overrides or {}).items()}},
        "config": dict(config or {}),
        **options,
    }
    try:
        request = SweepRequest.model_validate(fields)
    except ValidationError as error:
        raise as_option_error(error) from error
    return run_sweep(request, display or SweepProgress(), verbose=verbose)


def resume_sweep(
    sweep: str | Path,
    *,
    max_concurrent: int | None = None,
    display: SweepProgress | None = None,
    storage: str | Path | None = None,
    accept_changed_code: bool = False,
) -> "SweepResult":
    """Resume a sweep, and return its result. Trials that finished or were stopped do not run again.

    `sweep` is the sweep's folder, or its id or space in the folder `storage` (None: `runs`). With
    `accept_changed_code`, the remaining trials run although a file of a space, method or model has changed. Raises
    ConfigError for changed code without this argument.
    """
    from orchestrator.sweeping.tune.session import resume_sweep as run_remaining_trials

    return run_remaining_trials(
        find_sweep(str(sweep), storage_folder(_path(storage))),
        display or SweepProgress(),
        max_concurrent=max_concurrent,
        accept_changed_code=accept_changed_code,
    )


def load_sweep(sweep: str | Path, *, storage: str | Path | None = None) -> "SweepResult":
    """Return the result of an earlier sweep, or the results so far of a sweep that runs or was killed.

    `sweep` is the sweep's folder, or its id or space in the folder `storage` (None: `runs`). Raises ConfigError when
    there is no such sweep, and CheckpointError for unreadable files.
    """
    from orchestrator.sweeping.result import load_result

    return load_result(find_sweep(str(sweep), storage_folder(_path(storage))))


def trainable(
    base: ExperimentConfig | Mapping[str, Any] | None = None, *, actors: int = 1
) -> "type[tune.Trainable]":
    """Return an experiment as a class for your own `ray.tune.Tuner`.

    `base` is the config, or a config tree, that all trials start from (None: all defaults). The `param_space` maps
    config keys, dotted or nested, to values. A trial reports after each evaluation (`training.eval_every`): the fields
    of RunSummary that were measured, such as `accuracy`, and `round` (committed rounds) and `run_folder`.
    The trials' runs are in `runtime.storage` of `base`. `actors` is the number of client actors of each trial with
    `runtime.executor=ray`. Sparsefleet does not send the trials to MLflow; use Tune's callbacks.
    Raises ConfigError for an invalid `base`. A trial with an invalid config raises ConfigError when Tune creates it.
    """
    from orchestrator.sweeping.tune.trainable import make_trainable

    return make_trainable({} if base is None else base, actors)


def compare(
    runs: "Sequence[str | Path | RunResult | SweepResult]" = (),
    *,
    storage: str | Path | None = None,
    sweep: str | Path | None = None,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> "ComparisonResult":
    """Compare runs by accuracy, uploaded and downloaded bytes, training FLOPs and emulated time.

    The arguments select runs in the folder `storage` (None: the folder of the first result in `runs`, else `runs`).
    `runs` are results of `run` and `sweep`, run ids, run folders, MLflow run ids, or patterns such as `fed*`. The
    result of a sweep stands for the runs of its trials. `sweep` (an id or a folder) selects its trials, `name` the
    runs whose display name matches a pattern, and `tags` the runs with these tags. A run must satisfy all given
    criteria. Without criteria, the function compares all runs outside of sweeps. `options` are the fields of
    CompareOptions: metric, cost, baseline, upload_caps, targets.
    Raises RequestError when no run matches or an option is invalid, and TypeError for an unknown option.
    """
    from orchestrator.analysis.compute import compare as compare_runs
    from orchestrator.analysis.options import CompareOptions
    from orchestrator.results.comparison_result import ComparisonResult

    checked_options = CompareOptions(**options)
    selected = _select(runs, storage, sweep, name, tags)
    return ComparisonResult.from_comparison(compare_runs(selected.runs, checked_options, selected.notes))


def compare_each_data_set(
    runs: "Sequence[str | Path | RunResult | SweepResult]" = (),
    *,
    storage: str | Path | None = None,
    sweep: str | Path | None = None,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    **options: Any,
) -> "dict[str, ComparisonResult]":
    """Compare the runs of each data set on their own, and return the comparisons by `data.name`; see `compare`."""
    from orchestrator.analysis.compute import compare_by_data
    from orchestrator.analysis.options import CompareOptions
    from orchestrator.results.comparison_result import ComparisonResult

    checked_options = CompareOptions(**options)
    selected = _select(runs, storage, sweep, name, tags)
    comparisons = compare_by_data(selected.runs, checked_options, selected.notes)
    return {data: ComparisonResult.from_comparison(each) for data, each in comparisons.items()}


def _select(
    runs: "Sequence[str | Path | RunResult | SweepResult]",
    storage: str | Path | None,
    sweep: str | Path | None,
    name: str | None,
    tags: Mapping[str, str] | None,
) -> "SelectedRuns":
    """Return the runs that satisfy the criteria of `compare`."""
    from orchestrator.analysis.selection import select_runs

    if sweep is not None and is_sweep(Path(sweep)):
        storage = Path(sweep).resolve().parent
    if storage is None:
        storage = next((run.folder.parent for run in runs if not isinstance(run, str | Path)), "runs")
    return select_runs(
        Path(storage),
        [name for run in runs for name in _run_names(run)],
        sweep=None if sweep is None else str(sweep),
        name=name,
        tags=tags or {},
    )


def _run_names(run: "str | Path | RunResult | SweepResult") -> list[str]:
    """Return the names by which `select_runs` finds the run, or the runs of a sweep's trials."""
    if isinstance(run, str | Path):
        return [str(run)]
    return [str(each.folder) for each in ([run] if isinstance(run, RunResult) else run.runs)]


def _path(storage: str | Path | None) -> Path | None:
    return None if storage is None else Path(storage)
