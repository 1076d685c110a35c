"""Run an experiment from its config to its summary, or resume a run: prepare, execute, track."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from orchestrator.atomic_write import write_durably
from orchestrator.commands import resume_line
from orchestrator.errors import (
    ActorsLostError,
    ClusterError,
    ConfigError,
    RequestError,
    SparsefleetError,
    TrackingError,
)
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, model_notes
from orchestrator.experiment.loading import resumed_config
from orchestrator.experiment.prepare import prepare
from orchestrator.plugins.loading import relocated
from orchestrator.runtime.backend import Backend, InProcessBackend
from orchestrator.runtime.run_folder import begin_run, mention_ray_log, run_info, verify_run
from orchestrator.runtime.signals import SignalHandling, handling_signals
from orchestrator.runtime.tracking_setup import (
    check_storage_and_tracking,
    destination_note,
    parent_tags,
    resolve_tracking,
)
from orchestrator.storage.event_log import num_committed, save_events
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
from orchestrator.tracking.record import RoundRecord, not_finite, read_records
from orchestrator.tracking.tracker import Tracker

#: seconds that MLflow has to answer when the process must end at once
ABANDON_S = 2.0


class Display(Protocol):
    """Shows the progress of a run to the user."""

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """Show that a run starts, or resumes at `first_round`."""

    def update(self, record: RoundRecord) -> None:
        """Show a committed round."""

    def note(self, text: str) -> None:
        """Show one line of text."""

    def stop(self) -> None:
        """Show that the run has ended."""


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
            return _execute(experiment, store, display, verbose, place)
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
            display.note(f"this folder is a copy of {original}, so that it gets an MLflow run of its own")
        return _execute(experiment, store, display, verbose, place)


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
            f"{before} rounds become {rounds}: schedules that end at a fraction of the rounds end later or earlier"
        )
    return config


def check_cluster(config: ExperimentConfig) -> None:
    """Raise AddressError when the run joins a Ray cluster that does not answer."""
    if config.runtime.executor == "ray":
        from orchestrator.runtime.ray_session import require_cluster

        require_cluster(config.runtime)


def _execute(
    experiment: Experiment, store: RunStore, display: Display, verbose: bool, place: str
) -> RunSummary:
    """Run the remaining rounds of a run whose folder the caller has locked.

    `place` is the line that says where the run is tracked.
    """
    config = experiment.config
    for line in experiment.notes:
        display.note(line)
    with (
        handling_signals(config.runtime.grace_period_s, redeliver=True) as signals,
        store.recording_failure(),
        _backend(experiment, store.folder, display, verbose) as backend,
    ):
        store.accept(config.resumable_values())
        display.note(f"{store.run_id}: {backend.description}")
        display.note(place)
        for warning in experiment.warnings:
            display.note(f"warning: {warning}")
        for line in model_notes(experiment):
            display.note(line)
        tracker = backend.tracker()
        tracker.start(run_info(store, config))
        try:
            with _ending_failed_run(tracker, store, display):
                backend.ready()
            with signals.finishing(backend.stop, "stopping after this round") as work:
                with _ending_failed_run(tracker, store, display):
                    interrupted = _run_rounds(
                        backend, tracker, store, config.training.rounds, display, signals
                    )
                    summary = _summarise(backend, store, config, interrupted=interrupted)
                work.message = "the rounds have ended; waiting for MLflow"
                _deliver(summary, tracker, store, config, display)
                return summary
        except KeyboardInterrupt:
            display.note(f"stopped at once; `{resume_line(store.folder)}` resumes after the last checkpoint")
            tracker.abandon(ABANDON_S)
            _save_events_of_failed_run(store, display)
            raise


def _summarise(
    backend: Backend, store: RunStore, config: ExperimentConfig, *, interrupted: bool
) -> RunSummary:
    """Write and return the summary; an interrupted run whose driver is lost has no digest of its parameters."""
    try:
        digest = backend.params_sha256()
    except ActorsLostError:
        if not interrupted:
            raise
        digest = None
    records = read_records(store.folder / "metrics.jsonl")
    summary = RunSummary.of(config, store, records, digest, interrupted)
    write_durably(store.folder / "summary.json", summary.to_json().encode())
    return summary


def _deliver(
    summary: RunSummary, tracker: Tracker, store: RunStore, config: ExperimentConfig, display: Display
) -> None:
    """Write the table of events, and wait for MLflow. Raises an error when one of them is incomplete."""
    _note_not_finite(summary, read_records(store.folder / "metrics.jsonl"), display)
    unsaved = _save_events(store)
    if config.tracking.enabled:
        display.note("writing to MLflow")
    tracker.finish("KILLED" if summary.interrupted else "FINISHED", summary.to_dict())
    outcome = tracker.close()
    if problems := [str(problem) for problem in (outcome.problem, unsaved) if problem]:
        kind = TrackingError if outcome.problem else SparsefleetError
        raise kind(f"{'; '.join(problems)} (the run itself is complete: {store.folder})") from unsaved


def _run_rounds(
    backend: Backend,
    tracker: Tracker,
    store: RunStore,
    num_rounds: int,
    display: Display,
    signals: SignalHandling,
) -> bool:
    """Pass each committed round to tracker and display; return whether the run was interrupted."""
    num_done, has_diverged = len(read_records(store.folder / "metrics.jsonl")), False
    display.start(store.run_id, num_rounds, num_done)
    try:
        for record in backend.records():
            num_done = record.round_idx + 1
            tracker.log(record)
            display.update(record)
            if not has_diverged and (names := not_finite(record)):
                has_diverged = True
                values = ", ".join(f"{name} is {record.metrics[name]}" for name in names)
                display.note(f"round {record.round_idx}: {values}; the model has probably diverged")
            if failed := int(record.metrics.get("fleet/failures", 0)):
                display.note(
                    f"round {record.round_idx}: {failed} failed tasks, see {store.folder / 'failures.jsonl'}"
                    f"{mention_ray_log(store.folder)}"
                )
    except ActorsLostError as error:
        if not signals.received:
            raise
        display.note(f"{error}; the run ends after its last checkpoint")
    finally:
        display.stop()
    return signals.received or num_done < num_rounds


def _note_not_finite(summary: RunSummary, records: Sequence[RoundRecord], display: Display) -> None:
    """Report all evaluations that are not finite, also those of rounds before the run was resumed."""
    if not summary.num_not_finite:
        return
    first = next(record for record in records if not_finite(record))
    display.note(
        f"{summary.num_not_finite} of {summary.num_rounds} rounds have evaluations that are not finite, the first is "
        f"round {first.round_idx} ({', '.join(not_finite(first))}); lower training.lr, or look at the data"
    )


def _save_events(store: RunStore) -> SparsefleetError | None:
    """Write the table of events, and return an error instead of raising it, so that the tracker is still closed."""
    try:
        save_events(store.folder)
    except SparsefleetError as error:
        return error
    return None


def _save_events_of_failed_run(store: RunStore, display: Display) -> None:
    """Write the table of events of a failed run; only note an error here, because the first error is raised."""
    if unsaved := _save_events(store):
        display.note(str(unsaved))


@contextmanager
def _ending_failed_run(tracker: Tracker, store: RunStore, display: Display) -> Iterator[None]:
    """Write the table of events and mark the run as failed in MLflow when the block raises an error."""
    try:
        yield
    except Exception:
        _save_events_of_failed_run(store, display)
        _close_failed_tracker(tracker, display)
        raise


def _close_failed_tracker(tracker: Tracker, display: Display) -> None:
    """Mark the run as failed in MLflow; only note an error here, because the error of the run is raised."""
    try:
        tracker.finish("FAILED", {})
        problem = tracker.close().problem
    except SparsefleetError as error:
        problem = str(error)
    if problem:
        display.note(problem)


@contextmanager
def _backend(experiment: Experiment, folder: Path, display: Display, verbose: bool) -> Iterator[Backend]:
    with ExitStack() as stack:
        if experiment.config.runtime.executor == "inprocess":
            backend: Backend = InProcessBackend(experiment, folder)
        else:
            from orchestrator.runtime.ray_backend import RayBackend
            from orchestrator.runtime.ray_log import ray_log
            from orchestrator.runtime.ray_session import dashboard_note, ray_session

            if not verbose:
                stack.enter_context(ray_log(folder))
            stack.enter_context(ray_session(experiment.config.runtime, verbose=verbose))
            if line := dashboard_note(experiment.config.runtime):
                display.note(line)
            backend = RayBackend(experiment, folder, display.note)
        stack.callback(backend.close)
        yield backend
