"""A sweep's folder: what was asked for, its trials, and how they ended.

<storage>/<sweep_id>/sweep.json     the request, the config that all trials begin with, the space's summary
                     trials.jsonl   a TrialSpec a line, written before the trial may start
                     endings.jsonl  an Ending a line; a trial's last one counts
                     losses.jsonl   a line each time that a trial lost its actors: number, rounds done, cause
                     metrics.jsonl  how the sweep went, a record for each trial that ended; its tracker follows it
                     <sweep_id>-000 the run of trial 0; -000-g1 after it took over another trial's model (PBT)
                     failures/      what is known of each failed trial, with its traceback
                     report/        the comparison of its trials
                     summary.json   tracking.json  lock
                     tune/          Ray Tune's own files, which nothing here reads back
"""

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.runtime.run_folder import DATA_NOTES
from orchestrator.storage.atomic_write import write_durably
from orchestrator.storage.folders import (
    SWEEP_FILE,
    find_folder,
    is_run,
    is_sweep,
)
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.tracking.record import RoundRecord, complete_lines

#: under what a trial's run notes its values in its run.json
VALUES_NOTE = "trial_values"

EndStatus = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a trial ended.

    `stopped` is what a scheduler ended early; `cause` is a failed trial's, else "". `objective` is of the run `run_id`
    (None: the trial failed before it had one), whose config `values` are: population-based training changes them.
    """

    number: int
    status: EndStatus
    run_id: str | None
    cause: str
    objective: Mapping[str, float]
    values: Mapping[str, Any]

    def to_line(self) -> str:
        """One line of JSON without its newline."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> "Ending":
        """Inverse of `to_line`. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(line))


class SweepStore:
    """Reads and writes one sweep's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def sweep_id(self) -> str:
        """The sweep's name, which is the folder's."""
        return self.folder.name

    @property
    def report(self) -> Path:
        """Where the comparison of the trials is kept."""
        return self.folder / "report"

    def locked(self) -> AbstractContextManager[None]:
        """Hold the sweep for this process. Raises CheckpointError when another one has it."""
        return locked_folder(self.folder)

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write sweep.json."""
        write_durably(self.folder / SWEEP_FILE, json.dumps(dict(about), indent=2).encode())

    def about(self) -> dict[str, Any]:
        """What `describe` wrote. Raises CheckpointError when it cannot be read."""
        path = self.folder / SWEEP_FILE
        try:
            about = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({error}); the sweep cannot go on") from error
        if not isinstance(about, dict) or not {"request", "base"} <= about.keys():
            raise CheckpointError(f"{path} does not describe a sweep; the sweep cannot go on")
        return about

    def add_trials(self, trials: Iterable[TrialSpec]) -> None:
        """Make trials durable, before any of them starts."""
        self._append("trials.jsonl", [trial.to_line() for trial in trials])

    def trials(self) -> list[TrialSpec]:
        """In the order of their numbers. Raises CheckpointError for a line that is no trial."""
        trials: list[TrialSpec] = self._read("trials.jsonl", TrialSpec.from_line)
        return sorted(trials, key=lambda trial: trial.number)

    def add_ending(self, ending: Ending) -> None:
        """Make a trial's end durable."""
        self._append("endings.jsonl", [ending.to_line()])

    def endings(self) -> dict[int, Ending]:
        """The last ending of each trial that has one, by its number. Raises CheckpointError for a bad line."""
        endings: list[Ending] = self._read("endings.jsonl", Ending.from_line)
        return {ending.number: ending for ending in endings}

    def add_loss(self, number: int, num_rounds: int, cause: str) -> None:
        """Note that a trial has lost its actors, after so many rounds."""
        self._append("losses.jsonl", [json.dumps({"number": number, "rounds": num_rounds, "cause": cause})])

    def num_losses(self) -> int:
        """Of all trials, in all processes that have worked at the sweep."""
        return len(complete_lines(self.folder / "losses.jsonl"))

    def forget_failure(self, number: int) -> None:
        """A trial that failed in an earlier try has ended otherwise by now."""
        (self.folder / "failures" / f"{number:03d}.txt").unlink(missing_ok=True)

    def add_failure(self, number: int, text: str) -> str:
        """Keep all that is known of a trial's failure, its traceback too; returns the text."""
        (self.folder / "failures").mkdir(exist_ok=True)
        (self.folder / "failures" / f"{number:03d}.txt").write_text(text)
        return text

    def add_record(self, metrics: dict[str, float]) -> RoundRecord:
        """Append to the sweep's own metrics: its "rounds" are its trials, in the order in which they ended."""
        round_idx = len(complete_lines(self.folder / "metrics.jsonl"))
        record = RoundRecord(round_idx, time.time_ns() // 1_000_000, metrics)
        self._append("metrics.jsonl", [record.to_line()])
        return record

    def run_folders(self, number: int) -> list[Path]:
        """The folders of a trial's runs, oldest first: more than one where it took over others' models."""
        stem = f"{self.sweep_id}-{number:03d}"
        first = [self.folder / stem] if (self.folder / stem).is_dir() else []
        later = sorted(self.folder.glob(f"{stem}-g*"), key=lambda path: int(path.name.rpartition("-g")[2]))
        return first + later

    def run_folder(self, number: int) -> Path:
        """The folder of a trial's present run; its first one, which need not be there yet, where it has none."""
        whole = [folder for folder in self.run_folders(number) if is_run(folder)]
        return whole[-1] if whole else self.folder / f"{self.sweep_id}-{number:03d}"

    def next_run_folder(self, number: int) -> Path:
        """The folder for the run with which a trial goes on after it has taken over another's model.

        What a kill has left half made may be there.
        """
        folders = [folder for folder in self.run_folders(number) if is_run(folder)]
        stem = f"{self.sweep_id}-{number:03d}"
        generation = folders[-1].name.removeprefix(stem).removeprefix("-g") if folders else ""
        return self.folder / f"{stem}-g{int(generation or 0) + 1}"

    def data_notes(self) -> list[str]:
        """What the trials' runs say on how their data was read, each line once."""
        runs = [
            RunStore(folder) for t in self.trials() for folder in self.run_folders(t.number) if is_run(folder)
        ]
        return list(dict.fromkeys(line for run in runs for line in run.about().get(DATA_NOTES, [])))

    def mark_superseded(self, number: int) -> None:
        """Note in each of a trial's earlier runs which one it goes on with."""
        folders = [folder for folder in self.run_folders(number) if is_run(folder)]
        for folder in folders[:-1]:
            run = RunStore(folder)
            if run.about().get("superseded_by") != folders[-1].name:
                run.describe(run.config(), {**run.about(), "superseded_by": folders[-1].name})

    def _append(self, name: str, lines: Sequence[str]) -> None:
        path = self.folder / name
        whole = sum(len(line) + 1 for line in complete_lines(path))
        with path.open("ab") as file:
            file.truncate(
                whole
            )  # a line that a kill cut short is not to become the beginning of the next one
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def _read(self, name: str, parse: Any) -> list[Any]:
        found = []
        for number, line in enumerate(complete_lines(self.folder / name), 1):
            try:
                found.append(parse(line))
            except (ValueError, TypeError) as error:
                path = self.folder / name
                raise CheckpointError(f"{path}, line {number}: {error}; the sweep cannot go on") from error
        return found


def discard_half_made(folder: Path) -> None:
    """Remove a run's folder that a kill left before its run.json was written: nothing in it counts."""
    if folder.is_dir() and not is_run(folder):
        shutil.rmtree(folder)


def present_trial(run: RunStore, trial: TrialSpec) -> TrialSpec:
    """The trial with the values of its present run, which population-based training may have changed."""
    return TrialSpec(number=trial.number, values=run.about().get(VALUES_NOTE, trial.values))


def find_sweep(name: str, storage: Path) -> Path:
    """The folder of a sweep named by its id or a path, or of a space's newest sweep. Raises ConfigError."""
    if (folder := find_folder(name, storage, is_sweep)) is not None:
        return folder
    of_space = [file.parent for file in storage.glob(f"*/{SWEEP_FILE}") if name in _space_of(file)]
    if of_space:
        return max(of_space, key=lambda folder: (folder / SWEEP_FILE).stat().st_mtime).resolve()
    problem = f"there is no such sweep, neither at that path nor in {storage}"
    raise ConfigError(
        "SWEEP", name, problem, "name a sweep's folder, its id, or its space, or give --storage"
    )


def _space_of(file: Path) -> tuple[str, ...]:
    """The name of a sweep's space, and as what it was asked for."""
    try:
        about = json.loads(file.read_bytes())
        return str(about["space"]), str(about["request"]["space"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
