"""Execute the remaining rounds of a run: start backend and tracker, follow the rounds, and deliver the results."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from orchestrator.atomic_write import write_durably
from orchestrator.commands import resume_line
from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ActorsLostError, CheckpointError, SparsefleetError, TrackingError
from orchestrator.execution.torch_threads import torch_threads
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, attack_notes, model_notes
from orchestrator.formatting import counted
from orchestrator.processes.signals import SignalHandling, handling_signals
from orchestrator.runtime.backend import Backend, InProcessBackend
from orchestrator.runtime.run_folder import mention_ray_log, run_info
from orchestrator.storage.best_round import stop_reason
from orchestrator.storage.event_log import save_events
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.record import RoundRecord, RunInfo, not_finite, read_records
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.uris import public_uri

_LOG = logging.getLogger(__name__)
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


def execute_run(
    experiment: Experiment, store: RunStore, display: Display, verbose: bool, place: str
) -> RunSummary:
    """Run the remaining rounds of a run whose folder the caller has locked, and return the summary.

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
        store.start_attempt(config.resumable_values())
        display.note(f"{store.run_id}: {backend.description}")
        display.note(place)
        for warning in experiment.warnings:
            display.note(f"warning: {warning}")
        for line in (*model_notes(experiment), *attack_notes(experiment)):
            display.note(line)
        tracker, info = backend.tracker(), run_info(store, config)
        if config.tracking.enabled:
            _open_delivery(info)
        try:
            with _ending_failed_run(tracker, store, display):
                start_clients_and_tracker(backend, tracker, info)
            with signals.finishing(backend.stop, "stopping after this round") as work:
                with _ending_failed_run(tracker, store, display):
                    interrupted = _run_rounds(backend, tracker, store, config.training, display, signals)
                    summary = _summarise(backend, store, config, interrupted=interrupted)
                work.message = "the rounds have ended; waiting for MLflow"
                _deliver(summary, tracker, store, config, display)
                return summary
        except KeyboardInterrupt:
            display.note(f"stopped at once; `{resume_line(store.folder)}` resumes after the last checkpoint")
            tracker.abandon(ABANDON_S)
            _save_events_of_failed_run(store, display)
            raise


def _open_delivery(info: RunInfo) -> None:
    """Write the file with the state of the delivery to MLflow before the rounds.

    The delivery then also works if the disk becomes full later.

    The tracker itself reports a file that is not valid or cannot be written.
    """
    with suppress(CheckpointError, OSError):
        Delivery.open(public_uri(info.uri), info.experiment, Path(info.run_dir))


def start_clients_and_tracker(backend: Backend, tracker: Tracker, info: RunInfo) -> None:
    """Wait for the clients, then start the tracker, which needs seconds of CPU time that the clients need first."""
    try:
        backend.ready()
    except Exception:
        tracker.start(info)  # so that MLflow shows the run as failed
        raise
    tracker.start(info)


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
    training: TrainingConfig,
    display: Display,
    signals: SignalHandling,
) -> bool:
    """Pass each committed round to tracker and display; return whether the run was interrupted."""
    num_done, has_diverged = len(read_records(store.folder / "metrics.jsonl")), False
    display.start(store.run_id, training.rounds, num_done)
    try:
        for record in backend.records():
            num_done = record.round_idx + 1
            _LOG.info("%s: round %d is committed", store.run_id, record.round_idx)
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
    reason = stop_reason(training.stop, read_records(store.folder / "metrics.jsonl"))
    if reason is not None and num_done < training.rounds:
        display.note(f"{store.run_id}: stopped after {counted(num_done, 'round')}: {reason}")
    return signals.received or (num_done < training.rounds and reason is None)


def _note_not_finite(summary: RunSummary, records: Sequence[RoundRecord], display: Display) -> None:
    """Report all evaluations that are not finite, also those of rounds before the run was resumed."""
    if not summary.num_not_finite:
        return
    first = next(record for record in records if not_finite(record))
    display.note(
        f"evaluations are not finite in {summary.num_not_finite} of {counted(summary.num_rounds, 'round')}, the first "
        f"in round {first.round_idx} ({', '.join(not_finite(first))}); lower training.lr, or look at the data"
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
            # switching the number of threads for each task would leave idle threads that take time from the tasks
            stack.enter_context(torch_threads(1))
            backend: Backend = InProcessBackend(experiment, folder)
        else:
            from orchestrator.runtime.ray_backend import RayBackend
            from orchestrator.runtime.ray_log import ray_log
            from orchestrator.runtime.ray_session import dashboard_note, ray_session, session_note

            if not verbose:
                stack.enter_context(ray_log(folder))
            if line := session_note(experiment.config.runtime):
                display.note(line)
            stack.enter_context(ray_session(experiment.config.runtime, verbose=verbose))
            if line := dashboard_note(experiment.config.runtime):
                display.note(line)
            display.note("starting the driver and the client actors")
            backend = RayBackend(experiment, folder, display.note)
        stack.callback(backend.close)
        yield backend
