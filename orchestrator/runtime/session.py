"""A whole run from config to summary: prepare, execute, track; and the same for a run that goes on."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Protocol

from orchestrator.errors import ConfigError, RequestError, SparsefleetError, TrackingError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, model_notes
from orchestrator.experiment.loading import resumed_config
from orchestrator.experiment.prepare import prepare
from orchestrator.runtime.backend import Backend, InProcessBackend
from orchestrator.runtime.run_folder import begin_run, run_info, tracking_uri, unique_name, verify_run
from orchestrator.storage.atomic_write import write_durably
from orchestrator.storage.event_log import save_events
from orchestrator.storage.folders import is_sweep
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.reachable import check_reachable
from orchestrator.tracking.record import RoundRecord, not_finite, read_records
from orchestrator.tracking.tracker import Tracker


class Display(Protocol):
    """What the person at the terminal sees of a run."""

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """A run begins, or goes on at `first_round`."""

    def update(self, record: RoundRecord) -> None:
        """A round is committed."""

    def note(self, text: str) -> None:
        """One line worth knowing."""

    def stop(self) -> None:
        """The run has ended."""


def run(config: ExperimentConfig, display: Display, *, verbose: bool = False) -> RunSummary:
    """Run an experiment in a new folder of `runtime.storage`.

    Raises a RequestError for what cannot be done as asked, RoundError when a round fails, TrackingError when
    the server is unreachable at the start or what it lacks cannot be delivered at the end, another
    SparsefleetError when the table of events cannot be written.
    """
    check_places(config)
    experiment = prepare(config)
    method = config.algorithm.name.rpartition(":")[2].lower()
    folder = config.runtime.storage.resolve() / unique_name(method)
    try:
        store = begin_run(experiment, folder)
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)  # nothing that could be resumed
        raise
    try:
        return _execute(experiment, store, display, verbose)
    except RequestError:
        if not read_records(folder / "metrics.jsonl"):
            shutil.rmtree(folder)  # refused before its first round: there is nothing to resume
        raise


def resume(folder: Path, overrides: Sequence[str], display: Display, *, verbose: bool = False) -> RunSummary:
    """Go on with a run from its last commit; `training.rounds` may be raised to extend a finished one.

    Raises ConfigError for a change that the run's past forbids, CheckpointError when data, split or model are
    no longer what they were.
    """
    store = RunStore(folder)
    about = store.about()
    config = _check_resumable(store, resumed_config(store.config(), overrides), overrides, display)
    storage = storage_of(folder)
    runtime = config.runtime.model_copy(update={"storage": storage})
    config = config.model_copy(update={"runtime": runtime})
    check_places(config)
    with (
        nullcontext() if storage == folder.parent else locked_folder(folder.parent)
    ):  # a sweep's trial: not while that is at it
        experiment = prepare(config)
        differences = verify_run(store, experiment)
        store.describe(config.to_dict(), about)
        for line in differences:
            display.note(line)
        return _execute(experiment, store, display, verbose)


def storage_of(folder: Path) -> Path:
    """Where a run that may have been moved keeps its tracking database: beside it, a sweep's trial beside the sweep."""
    return folder.parent.parent if is_sweep(folder.parent) else folder.parent


def _check_resumable(
    store: RunStore, config: ExperimentConfig, overrides: Sequence[str], display: Display
) -> ExperimentConfig:
    """Refuse what a run with this past cannot become, and say what an extension moves."""
    if any(override.startswith("runtime.storage=") for override in overrides):
        problem = "a resumed run stays where it is"
        raise ConfigError(
            "runtime.storage", config.runtime.storage, problem, "move its folder, then resume it"
        )
    rounds, done = config.training.rounds, len(read_records(store.folder / "metrics.jsonl"))
    if rounds < done:
        raise ConfigError("training.rounds", rounds, f"the run has done {done}", f"ask for at least {done}")
    before = store.config()["training"]["rounds"]
    if rounds != before:
        display.note(
            f"{before} rounds become {rounds}: whatever ends at a share of the rounds moves with them"
        )
    return config


def check_places(config: ExperimentConfig) -> None:
    """Refuse a storage folder that cannot be written and a tracking server that does not answer."""
    storage = config.runtime.storage
    try:
        storage.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder cannot be made ({error.strerror})"
        raise ConfigError("runtime.storage", storage, problem, "choose one that can") from error
    if config.tracking.enabled:
        check_reachable(tracking_uri(config))


def _execute(experiment: Experiment, store: RunStore, display: Display, verbose: bool) -> RunSummary:
    config = experiment.config
    for line in experiment.notes:
        display.note(line)
    with (
        store.locked(),
        store.recording_failure(),
        _backend(experiment, store.folder, display, verbose) as backend,
    ):
        display.note(f"{store.run_id}: {backend.description}")
        for warning in experiment.warnings:
            display.note(f"warning: {warning}")
        for line in model_notes(experiment):
            display.note(line)
        tracker = backend.tracker()
        tracker.start(run_info(store, config))
        try:
            interrupted = _follow(backend, tracker, store, config.training.rounds, display)
            records = read_records(store.folder / "metrics.jsonl")
            summary = RunSummary.of(config, store, records, backend.params_sha256(), interrupted)
            write_durably(store.folder / "summary.json", summary.to_json().encode())
        except KeyboardInterrupt:
            display.note(
                f"stopped at once; `sparsefleet resume {store.folder}` goes on after the last commit"
            )
            _note_unsaved(store, display)
            raise
        except Exception:
            _note_unsaved(store, display)
            _give_up(tracker, display)
            raise
        _note_not_finite(summary, records, display)
        unsaved = _save_events(store)
        display.note("writing to MLflow" if config.tracking.enabled else "MLflow is off")
        tracker.finish("KILLED" if interrupted else "FINISHED", summary.to_dict())
        outcome = tracker.close()
        if problems := [str(problem) for problem in (outcome.problem, unsaved) if problem]:
            kind = TrackingError if outcome.problem else SparsefleetError
            raise kind(f"{'; '.join(problems)} (the run itself is complete: {store.folder})") from unsaved
        return summary


def _follow(backend: Backend, tracker: Tracker, store: RunStore, num_rounds: int, display: Display) -> bool:
    """Hand each committed round to the tracker and the display; True when it was asked to end early."""
    backend.ready()
    num_done, has_diverged = len(read_records(store.folder / "metrics.jsonl")), False
    display.start(store.run_id, num_rounds, num_done)
    try:
        with on_interrupt(backend.stop, "stopping after this round") as was_interrupted:
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
                    )
        return was_interrupted() or num_done < num_rounds
    finally:
        display.stop()


def _note_not_finite(summary: RunSummary, records: Sequence[RoundRecord], display: Display) -> None:
    """Say at the end that evaluations gave no number, also those before a resumption."""
    if not summary.num_not_finite:
        return
    first = next(record for record in records if not_finite(record))
    display.note(
        f"{summary.num_not_finite} of {summary.num_rounds} rounds have evaluations that are not finite, the first is "
        f"round {first.round_idx} ({', '.join(not_finite(first))}); lower training.lr, or look at the data"
    )


def _save_events(store: RunStore) -> SparsefleetError | None:
    """Make the table of events; a failure is for later, since it must not keep the rest of an ending from its place."""
    try:
        save_events(store.folder)
    except SparsefleetError as error:
        return error
    return None


def _note_unsaved(store: RunStore, display: Display) -> None:
    """Make the table of events of a run that has failed, which a failure here must not hide."""
    if unsaved := _save_events(store):
        display.note(str(unsaved))


def _give_up(tracker: Tracker, display: Display) -> None:
    """Mark a failed run as such; what tracking has to complain about must not hide why it failed."""
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
            from orchestrator.runtime.ray_session import ray_session

            stack.enter_context(ray_session(experiment.config.runtime, verbose=verbose))
            backend = RayBackend(experiment, folder, display.note)
        stack.callback(backend.close)
        yield backend


@contextmanager
def on_interrupt(stop: Callable[[], None], words: str) -> Iterator[Callable[[], bool]]:
    """Call `stop` at the first SIGINT and say so in those words, end at once at the second; yields whether one came.

    The handler writes to the file descriptor: the signal may arrive in the middle of the display's own output.
    """
    interrupts = 0

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            raise KeyboardInterrupt
        os.write(2, f"\n{words}; press Ctrl-C again to stop at once\n".encode())
        stop()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: interrupts > 0
    finally:
        signal.signal(signal.SIGINT, previous)
