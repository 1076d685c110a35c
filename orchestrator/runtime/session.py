"""Run an experiment in a new folder, or resume a run: check the request, prepare the experiment, run the rounds."""

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from orchestrator.errors import (
    ClusterError,
    ConfigError,
    RequestError,
)
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.loading import resumed_config
from orchestrator.experiment.prepare import prepare
from orchestrator.formatting import counted
from orchestrator.plugins.loading import relocated
from orchestrator.runtime.run_execution import Display, execute_run
from orchestrator.runtime.run_folder import begin_run, verify_run
from orchestrator.runtime.tracking.setup import (
    check_storage_and_tracking,
    destination_note,
    parent_tags,
    resolve_tracking,
)
from orchestrator.storage.best_round import stop_reason
from orchestrator.storage.event_log import num_committed
from orchestrator.storage.folders import is_sweep, unique_name
from orchestrator.storage.lock import locked_folder, new_locked_folder
from orchestrator.storage.lookup import STORAGE_KEY
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.sources import (
    copies_in_use,
    require_unchanged,
    stored_places,
    unknown_sources,
    updated_sources,
)
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.delivery import original_of_copy
from orchestrator.tracking.record import read_records


def run(config: ExperimentConfig, display: Display, *, verbose: bool = False) -> RunSummary:
    """Run an experiment in a new folder of `runtime.storage`.

    Raises RequestError for an invalid request, RoundError when a round fails, TrackingError when the tracking server
    is unreachable at the start or missing records cannot be delivered at the end, and another SparsefleetError when
    the table of events cannot be written.
    """
    config, destination = resolve_tracking(config)
    check_cluster(config)
    check_storage_and_tracking(config)
    place = destination_note(config, destination)
    if config.runtime.executor == "ray":
        display.note(f"loading {config.data.name}")
    experiment = prepare(config)
    method = config.algorithm.name.rpartition(":")[2].lower()
    folder = config.runtime.storage.resolve() / unique_name(method)
    with new_locked_folder(folder):
        try:
            store = begin_run(experiment, folder, tags=parent_tags(destination))
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)  # an incomplete folder cannot be resumed
            raise
        try:
            return execute_run(experiment, store, display, verbose, place)
        except (RequestError, ClusterError):
            if not read_records(folder / "metrics.jsonl"):
                shutil.rmtree(folder)  # the run ended before the first round, so there is nothing to resume
            raise


def resume(
    folder: Path,
    overrides: Sequence[str],
    display: Display,
    *,
    verbose: bool = False,
    accept_changed_code: bool = False,
) -> RunSummary:
    """Resume a run from its last checkpoint. A larger `training.rounds` extends a finished run.

    A rejected request changes nothing in the folder, apart from the lock. Raises ConfigError for an override that a
    resumed run does not allow, and for a user's file that has changed, except with `accept_changed_code`. Raises
    CheckpointError when data, partition or model have changed.
    """
    store = RunStore(folder)
    places = stored_places(folder, store.about())
    for line in copies_in_use(folder, places):
        display.note(line)
    with relocated(places):
        return _resume(store, overrides, display, verbose, accept_changed_code)


def _resume(
    store: RunStore, overrides: Sequence[str], display: Display, verbose: bool, accept_changed_code: bool
) -> RunSummary:
    folder, storage = store.folder, storage_of(store.folder)
    # a trial must not be resumed while its sweep runs, so the sweep's folder is locked
    sweep_lock = nullcontext() if storage == folder.parent else locked_folder(folder.parent)
    with sweep_lock, store.locked():
        config = _check_resumable(store, resumed_config(store.config(), overrides), overrides, display)
        runtime = config.runtime.model_copy(update={"storage": storage})
        config = config.model_copy(update={"runtime": runtime})
        is_recorded = store.config().get("tracking", {}).get("experiment") is not None
        config, destination = resolve_tracking(config, is_recorded=is_recorded)
        check_cluster(config)
        check_storage_and_tracking(config)
        place = destination_note(config, destination)
        experiment = prepare(config)
        _check_sources(store, experiment, display, accept_changed_code)
        for line in verify_run(store, experiment):
            display.note(line)
        store.describe_again(
            updated_sources(folder, store.about(), experiment.sources, num_committed(folder))
        )
        if config.tracking.enabled and (original := original_of_copy(folder)) is not None:
            display.note(f"this folder is a copy of {original}, so it gets its own MLflow run")
        return execute_run(experiment, store, display, verbose, place)


def _check_sources(
    store: RunStore, experiment: Experiment, display: Display, accept_changed_code: bool
) -> None:
    """Compare the user's files with those of the run. Raises ConfigError for changed code that is not accepted."""
    about = store.about()
    if not accept_changed_code:
        require_unchanged(store.folder, about, experiment.sources)
    for line in unknown_sources(about, experiment.sources):
        display.note(line)


def storage_of(folder: Path) -> Path:
    """Return the storage folder of a run: its parent folder, or the parent folder of its sweep if it is a trial."""
    return folder.parent.parent if is_sweep(folder.parent) else folder.parent


def _check_resumable(
    store: RunStore, config: ExperimentConfig, overrides: Sequence[str], display: Display
) -> ExperimentConfig:
    """Reject overrides that a resumed run does not allow, and note the effect of a changed number of rounds."""
    names_storage = any(override.startswith(f"{STORAGE_KEY}=") for override in overrides)
    if names_storage and config.runtime.storage.resolve() != storage_of(store.folder).resolve():
        problem = "a resumed run keeps its folder"
        raise ConfigError(
            STORAGE_KEY, config.runtime.storage, problem, "move the run's folder, then resume the run"
        )
    rounds, done = config.training.rounds, num_committed(store.folder)
    if rounds < done:
        raise ConfigError("training.rounds", rounds, f"the run has completed {done}", f"set at least {done}")
    before = store.config()["training"]["rounds"]
    if rounds != before:
        display.note(
            f"{counted(before, 'round')} become {rounds}: schedules that end at a fraction of the rounds end later or "
            "earlier"
        )
    _note_stopped(store, config, display)
    return config


def _note_stopped(store: RunStore, config: ExperimentConfig, display: Display) -> None:
    """Say that a run which has stopped early stays stopped, however many rounds the request allows."""
    records = read_records(store.folder / "metrics.jsonl")
    reason = stop_reason(config.training.stop, records)
    if reason is not None and len(records) < config.training.rounds:
        display.note(f"the run trains no further round: {reason}; a larger training.stop.patience resumes it")


def check_cluster(config: ExperimentConfig) -> None:
    """Raise AddressError when the run joins a Ray cluster that does not answer."""
    if config.runtime.executor == "ray":
        from orchestrator.runtime.ray_session import require_cluster

        require_cluster(config.runtime)
