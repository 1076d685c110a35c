"""Runs one trial as an ordinary run, step by step from one evaluation to the next. Does not use Ray Tune."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.atomic_write import write_durably
from orchestrator.commands import RUN_FILE
from orchestrator.config.overrides import flatten
from orchestrator.errors import CheckpointError, SparsefleetError
from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.execution.fault_injection import DriverFaultInjector
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.driver import Driver
from orchestrator.runtime.run_folder import begin_run, verify_run
from orchestrator.storage.best_model import BEST_MODEL
from orchestrator.storage.best_round import stop_reason
from orchestrator.storage.event_log import save_events
from orchestrator.storage.folders import is_run
from orchestrator.storage.lock import new_locked_folder
from orchestrator.storage.run_logs import LOGS
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.sources import updated_sources
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.store import discard_incomplete_run
from orchestrator.tracking.record import RoundRecord, committed_records

MakeExecutor = Callable[[], Executor]
#: returns what a trial reports after these records
Measure = Callable[[Sequence[RoundRecord]], Mapping[str, Any]]
#: a metric of every evaluated round
_EVALUATED = "eval/accuracy"


class TrialRun:
    """A run that trains until the next evaluation in every call of `step`.

    The first steps of a resumed run report the evaluations that were committed before and not reported, one per step.
    A scheduler in a new process needs these reports, because it has not seen the past of the trial.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: RunStore,
        make_executor: MakeExecutor,
        measure: Measure,
        *,
        num_reported: int | None,
    ) -> None:
        """The run calls `make_executor` when it first trains, and `measure` for each result.

        `num_reported` is the number of committed rounds that were reported before (None: all). Raises CheckpointError
        for unreadable records.
        """
        self._experiment, self._store, self._measure = experiment, store, measure
        self._make_executor = make_executor
        self._fault_injector = DriverFaultInjector(experiment.config, store.folder)
        self._open_resources = ExitStack()
        self._records = committed_records(store.folder)
        self._num_reported = len(self._records) if num_reported is None else num_reported
        self._driver: Driver | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all rounds are committed and the summary is written."""
        return is_complete(self._store.folder)

    def step(self) -> dict[str, Any]:
        """Train until the next evaluation or the end, and return the result for Tune.

        `round` in the result counts the committed rounds. The run is locked during the step only, because Tune may
        continue a paused trial in another actor without closing this one. Raises RoundError when a round fails, and
        CheckpointError when another process has the lock.
        """
        with self._store.locked():
            return self._step()

    def _step(self) -> dict[str, Any]:
        while True:
            if self._num_reported < len(self._records):
                self._num_reported += 1
            elif not self._is_at_end():
                self._advance()
                continue
            done = self._num_reported == len(self._records) and self._is_at_end()
            if done and not self.is_finished:
                self._finish()
            if done or _EVALUATED in self._records[self._num_reported - 1].metrics:
                return self._result(done)

    def snapshot(self, folder: Path) -> None:
        """Copy everything that another trial needs to continue from this point."""
        shutil.copytree(self._store.folder / "commits", folder / "commits")
        _copy_best_model(self._store.folder, folder)
        for name in (*LOGS, "config.yaml", RUN_FILE):
            if (self._store.folder / name).exists():
                shutil.copyfile(self._store.folder / name, folder / name)

    def close(self) -> None:
        """Close the driver and the executor. No other method may be called afterwards."""
        self._open_resources.close()

    def _is_at_end(self) -> bool:
        training = self._experiment.config.training
        return len(self._records) >= training.rounds or stop_reason(training.stop, self._records) is not None

    def _advance(self) -> None:
        """Train and commit one round."""
        if self._driver is None:
            self._open_driver(self._make_executor())
        self._fault_injector.strike(len(self._records))
        self._records.append(next(self._rounds))

    def _open_driver(self, executor: Executor) -> None:
        self._open_resources.callback(executor.close)
        torch.set_num_threads(1)
        self._driver = Driver(self._experiment, executor, self._store)
        self._records = committed_records(
            self._store.folder
        )  # has one record less if the newest checkpoint was damaged
        self._rounds = self._driver.run()
        self._open_resources.callback(self._rounds.close)

    def _finish(self) -> None:
        """Write the final files of the run. The driver saves the model when the iterator over its rounds ends."""
        if self._driver is None:  # killed after the last checkpoint: no client trains any more
            self._open_driver(InProcessExecutor(self._experiment))
        assert self._driver is not None
        for record in self._rounds:
            if self._is_at_end():
                raise CheckpointError(
                    f"{self._store.folder} has round {record.round_idx}, which is after its last round"
                )
            self._records.append(record)
        save_events(self._store.folder)
        digest = self._driver.params_sha256()
        summary = RunSummary.of(self._experiment.config, self._store, self._records, digest, False)
        write_durably(self._store.folder / "summary.json", summary.to_json().encode())

    def _result(self, done: bool) -> dict[str, Any]:
        records = self._records[: self._num_reported]
        values = self._measure(records)
        return {"round": len(records), "run_id": self._store.run_id, "done": done, **values}


def summarise_unfinished(folder: Path) -> RunSummary:
    """Write the summary of a run that ended before its last round. Such a run never counts as complete."""
    store = RunStore(folder)
    config = ExperimentConfig.parse(store.config())
    summary = RunSummary.of(config, store, committed_records(folder), None, True)
    write_durably(folder / "summary.json", summary.to_json().encode())
    return summary


def is_complete(folder: Path) -> bool:
    """Whether a folder contains a run that committed all its rounds."""
    if not (folder / "summary.json").is_file() or not is_run(folder):
        return False
    return not RunSummary.read(folder / "summary.json").interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabels:
    """Display name and tags of a trial's run, and additional entries (`notes`) for its run.json."""

    name: str
    tags: Mapping[str, str]
    notes: Mapping[str, Any]


def open_store(experiment: Experiment, folder: Path, labels: RunLabels) -> RunStore:
    """Open the run of a trial: resume the run in the folder, or begin a new run when the folder has none.

    The run stores the code of the sweep. Raises CheckpointError when the folder contains a run of another experiment.
    """
    discard_incomplete_run(folder)
    if not folder.is_dir():
        with new_locked_folder(folder):
            return begin_run(experiment, folder, name=labels.name, tags=labels.tags, notes=labels.notes)
    store = RunStore(folder)
    verify_run(store, experiment)
    about = store.about()
    current = updated_sources(folder, about, experiment.sources, len(committed_records(folder)))
    if current != about:
        store.describe_again(current)
    return store


def begin_from_snapshot(
    snapshot: Path,
    experiment: Experiment,
    folder: Path,
    labels: RunLabels,
    mutable_keys: Sequence[str] | None,
) -> RunStore:
    """Begin a run in a new folder that continues from the snapshot of another trial (the donor).

    The run has its own config, which may differ from the donor's config in `mutable_keys` only. None allows all keys
    that leave the method and all fingerprints (data, partition, model, ...) as they are. Raises SparsefleetError when
    anything else differs.
    """
    donor = RunStore(snapshot)
    donor_id = str(donor.about()["run_id"])
    if forbidden := _forbidden_changes(donor, experiment, mutable_keys):
        why = (
            "a checkpoint fits its own only"
            if mutable_keys is None
            else "the space's MUTATIONS do not list it"
        )
        raise SparsefleetError(
            f"{folder.name} cannot continue from {donor_id}: they differ in {', '.join(forbidden)}, and {why}"
        )
    with new_locked_folder(folder):
        shutil.copytree(snapshot / "commits", folder / "commits")
        _copy_best_model(snapshot, folder)
        for log in LOGS:
            if (snapshot / log).exists():
                shutil.copyfile(snapshot / log, folder / log)
        tags = {**labels.tags, "taken_over_from": donor_id}
        return begin_run(experiment, folder, name=labels.name, tags=tags, notes=labels.notes)


def _copy_best_model(source: Path, target: Path) -> None:
    if (source / BEST_MODEL).is_dir():
        shutil.copytree(source / BEST_MODEL, target / BEST_MODEL, dirs_exist_ok=True)


def _forbidden_changes(
    donor: RunStore, experiment: Experiment, mutable_keys: Sequence[str] | None
) -> list[str]:
    before, after = flatten(donor.config()), flatten(experiment.config.to_dict())
    if mutable_keys is None:
        prints = donor.about()["fingerprint"]
        changed = {name for name, digest in experiment.fingerprint().items() if prints.get(name) != digest}
        key = "algorithm.name"
        return sorted(changed | ({key} if before.get(key) != after.get(key) else set()))
    return sorted(
        key for key in {**before, **after} if before.get(key) != after.get(key) and key not in mutable_keys
    )
