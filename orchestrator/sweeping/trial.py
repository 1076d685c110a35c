"""One trial as a run of its own: opened, stepped from one evaluation to the next, closed. No Tune in it."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from orchestrator.config.overrides import flatten
from orchestrator.errors import CheckpointError, SparsefleetError
from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.execution.fault_injection import DriverFaultInjector
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.driver import Driver
from orchestrator.runtime.run_folder import begin_run, verify_run
from orchestrator.storage.atomic_write import write_durably
from orchestrator.storage.event_log import save_events
from orchestrator.storage.folders import RUN_FILE, is_run
from orchestrator.storage.run_logs import LOGS
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import ACCURACY, Objective
from orchestrator.sweeping.store import discard_half_made
from orchestrator.tracking.record import committed_records

MakeExecutor = Callable[[], Executor]


class TrialRun:
    """A run that goes on when it is asked to.

    With `replay`, what was committed before it was opened is reported too, one evaluation a step, as if it had just
    happened: whoever decides by it has seen nothing yet.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: RunStore,
        make_executor: MakeExecutor,
        objective: Objective,
        *,
        replay: bool,
    ) -> None:
        """`make_executor` is called when the run trains. Raises CheckpointError for records that cannot be read."""
        self._experiment, self._store, self._objective = experiment, store, objective
        self._make_executor = make_executor
        self._chaos = DriverFaultInjector(experiment.config, store.folder)
        self._held = ExitStack()
        self._records = committed_records(store.folder)
        self._reported = 0 if replay else len(self._records)
        self._driver: Driver | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all rounds are committed and the summary is written."""
        return is_complete(self._store.folder)

    def step(self) -> dict[str, Any]:
        """Go on to the next evaluation, or to the end; what Tune is told of it.

        `round` counts the committed rounds. Raises RoundError when a round fails, CheckpointError when another process
        has the run: it is this one's for the step only, since Tune leaves a paused trial in its actor without a word.
        """
        with self._store.locked():
            return self._step()

    def _step(self) -> dict[str, Any]:
        while True:
            if self._reported < len(self._records):
                self._reported += 1
            elif not self._is_at_end():
                self._advance()
                continue
            done = self._reported == self._experiment.config.training.rounds
            if done and not self.is_finished:
                self._conclude()
            if done or ACCURACY in self._records[self._reported - 1].metrics:
                return self._result(done)

    def snapshot(self, folder: Path) -> None:
        """Copy all that another trial needs to go on from here."""
        shutil.copytree(self._store.folder / "commits", folder / "commits")
        for name in (*LOGS, "config.yaml", RUN_FILE):
            if (self._store.folder / name).exists():
                shutil.copyfile(self._store.folder / name, folder / name)

    def close(self) -> None:
        """Release what training needed. The last call."""
        self._held.close()

    def _is_at_end(self) -> bool:
        return len(self._records) >= self._experiment.config.training.rounds

    def _advance(self) -> None:
        """Commit one more round."""
        if self._driver is None:
            self._open_driver(self._make_executor())
        self._chaos.strike(len(self._records))
        self._records.append(next(self._rounds))

    def _open_driver(self, executor: Executor) -> None:
        self._held.callback(executor.close)
        torch.set_num_threads(1)
        self._driver = Driver(self._experiment, executor, self._store)
        self._records = committed_records(self._store.folder)  # one less where the newest commit was damaged
        self._rounds = self._driver.run()
        self._held.callback(self._rounds.close)

    def _conclude(self) -> None:
        """What a run's folder ends with. The driver saves its model when it is asked for another round."""
        if self._driver is None:  # killed after the last commit: no client is needed any more
            self._open_driver(InProcessExecutor(self._experiment))
        assert self._driver is not None
        for record in self._rounds:
            if self._is_at_end():
                raise CheckpointError(f"{self._store.folder} has a round {record.round_idx} beyond its end")
            self._records.append(record)
        save_events(self._store.folder)
        digest = self._driver.params_sha256()
        summary = RunSummary.of(self._experiment.config, self._store, self._records, digest, False)
        write_durably(self._store.folder / "summary.json", summary.to_json().encode())

    def _result(self, done: bool) -> dict[str, Any]:
        records = self._records[: self._reported]
        values = self._objective.measure(records)
        return {"round": len(records), "run_id": self._store.run_id, "done": done, **values}


def summarise_unfinished(folder: Path) -> RunSummary:
    """Write the summary of a trial's run that does not go on, as far as it came; it never counts as complete."""
    store = RunStore(folder)
    config = ExperimentConfig.parse(store.config())
    summary = RunSummary.of(config, store, committed_records(folder), None, True)
    write_durably(folder / "summary.json", summary.to_json().encode())
    return summary


def is_complete(folder: Path) -> bool:
    """Whether a run's folder holds a run that did all its rounds."""
    if not (folder / "summary.json").is_file() or not is_run(folder):
        return False
    return not RunSummary.read(folder / "summary.json").interrupted


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLabels:
    """What a trial's run is called, its tags, and what its run.json notes beside them."""

    name: str
    tags: Mapping[str, str]
    notes: Mapping[str, Any]


def open_store(experiment: Experiment, folder: Path, labels: RunLabels) -> RunStore:
    """The store of a trial's run in a folder: begun anew, or gone on with.

    Raises CheckpointError when what is there is not the experiment's.
    """
    discard_half_made(folder)
    if not folder.is_dir():
        return begin_run(experiment, folder, name=labels.name, tags=labels.tags, notes=labels.notes)
    store = RunStore(folder)
    verify_run(store, experiment)
    return store


def take_over(
    snapshot: Path, experiment: Experiment, folder: Path, labels: RunLabels, may_change: Sequence[str]
) -> RunStore:
    """Begin a run in a new folder where another trial's snapshot stands, under a config of its own.

    Raises SparsefleetError when the configs differ in more than the keys of `may_change`.
    """
    donor = RunStore(snapshot)
    donor_id = str(donor.about()["run_id"])
    before, after = flatten(donor.config()), flatten(experiment.config.to_dict())
    changed = {key for key in {**before, **after} if before.get(key) != after.get(key)}
    if forbidden := sorted(changed - set(may_change)):
        raise SparsefleetError(
            f"{folder.name} would take over {donor_id} under another {', '.join(forbidden)}, "
            "which the space's MUTATIONS do not name"
        )
    folder.mkdir(parents=True)
    shutil.copytree(snapshot / "commits", folder / "commits")
    for log in LOGS:
        if (snapshot / log).exists():
            shutil.copyfile(snapshot / log, folder / log)
    tags = {**labels.tags, "taken_over_from": donor_id}
    return begin_run(experiment, folder, name=labels.name, tags=tags, notes=labels.notes)
