"""Reads and writes the folder of a sweep: its request, its trials and their endings.

<storage>/<sweep_id>/sweep.json     the request, the config that all trials start from, the space's summary
                     trials.jsonl   one TrialSpec per line; the sweep writes the line before the trial starts
                     endings.jsonl  one Ending per line; the last line of a trial counts
                     losses.jsonl   one line per loss of a trial's actors: number, committed rounds, cause
                     metrics.jsonl  metrics of the sweep, one record per ended trial; the tracker sends them to MLflow
                     <sweep_id>-000 the run of trial 0; -000-g1 after the trial copied another trial's model (PBT)
                     failures/      the error and traceback of each failed trial
                     report/        the comparison of the trials
                     summary.json   tracking.json  lock
                     tune/          Ray Tune's own files; Sparsefleet does not read them
"""

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from orchestrator.atomic_write import PRIVATE_FOLDER, append_durably, replace_file, write_durably
from orchestrator.commands import resume_sweep_line
from orchestrator.errors import CheckpointError, hide_passwords
from orchestrator.runtime.run_folder import DATA_NOTES
from orchestrator.storage.folders import SWEEP_FILE, is_run
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.sweeping.objective import with_data
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.tracking.record import RoundRecord, complete_lines

#: key of run.json under which a trial's run stores the trial's values
VALUES_NOTE = "trial_values"

EndStatus = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a trial ended.

    - `status`: "stopped" means that the scheduler ended the trial early.
    - `run_id`: the trial's last run; None when the trial failed before it had a run.
    - `cause`: the error of a failed trial, else "".
    - `objective`: value of each metric at the end of the run `run_id`.
    - `values`: the trial's values in that run; population-based training may have changed them.
    """

    number: int
    status: EndStatus
    run_id: str | None
    cause: str
    objective: Mapping[str, float]
    values: Mapping[str, Any]

    def to_line(self) -> str:
        """Return one line of JSON without a newline."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_line(cls, line: bytes) -> "Ending":
        """Parse a line that `to_line` wrote. Raises ValueError or TypeError for any other text."""
        ending = cls(**json.loads(line))
        return replace(ending, objective={with_data(name): x for name, x in ending.objective.items()})


class SweepStore:
    """Reads and writes the folder of one sweep.

    `resume_command` is the command that messages name. `resumption` is this command for a sweep of a study: it resumes
    the study. None stands for the command that resumes the sweep.
    """

    def __init__(self, folder: Path, resumption: str | None = None) -> None:
        self.folder, self.resume_command = folder, resumption or resume_sweep_line(folder)

    @property
    def sweep_id(self) -> str:
        """The sweep's id, which is the name of its folder."""
        return self.folder.name

    @property
    def report(self) -> Path:
        """The folder of the comparison of the trials."""
        return self.folder / "report"

    def locked(self) -> AbstractContextManager[None]:
        """Lock the sweep for this process. Raises CheckpointError when another process has the lock."""
        return locked_folder(self.folder)

    def describe(self, about: Mapping[str, Any]) -> None:
        """Write sweep.json."""
        write_durably(self.folder / SWEEP_FILE, json.dumps(dict(about), indent=2).encode())

    def about(self) -> dict[str, Any]:
        """Read what `describe` wrote. Raises CheckpointError when sweep.json is unreadable or incomplete."""
        path = self.folder / SWEEP_FILE
        try:
            about = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"cannot read {path} ({error}); restore the file, or start a new sweep"
            ) from error
        if not isinstance(about, dict) or not {"request", "base"} <= about.keys():
            raise CheckpointError(f"{path} does not describe a sweep; restore the file, or start a new sweep")
        return about

    def add_trials(self, trials: Iterable[TrialSpec]) -> None:
        """Append trials to trials.jsonl durably. The sweep calls this before any of the trials starts."""
        self._append("trials.jsonl", [trial.to_line() for trial in trials])

    def trials(self) -> list[TrialSpec]:
        """Return all recorded trials by ascending number. Raises CheckpointError for an invalid line."""
        trials: list[TrialSpec] = self._read("trials.jsonl", TrialSpec.from_line)
        return sorted(trials, key=lambda trial: trial.number)

    def add_ending(self, ending: Ending) -> None:
        """Append the ending of a trial to endings.jsonl durably."""
        self._append("endings.jsonl", [ending.to_line()])

    def endings(self) -> dict[int, Ending]:
        """Return the last ending of each ended trial by its number. Raises CheckpointError for an invalid line."""
        endings: list[Ending] = self._read("endings.jsonl", Ending.from_line)
        return {ending.number: ending for ending in endings}

    def add_loss(self, number: int, num_rounds: int, cause: str) -> None:
        """Record that a trial lost its actors after `num_rounds` committed rounds."""
        self._append("losses.jsonl", [json.dumps({"number": number, "rounds": num_rounds, "cause": cause})])

    def num_losses(self) -> int:
        """Return the number of losses of all trials, over all processes that ran the sweep."""
        return len(complete_lines(self.folder / "losses.jsonl"))

    def remove_failure(self, number: int) -> None:
        """Delete the failure file of a trial that did not fail when it was retried."""
        (self.folder / "failures" / f"{number:03d}.txt").unlink(missing_ok=True)

    def add_failure(self, number: int, text: str) -> str:
        """Write the error and traceback of a failed trial to a file, and return the text."""
        (self.folder / "failures").mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        replace_file(self.folder / "failures" / f"{number:03d}.txt", hide_passwords(text).encode())
        return text

    def add_record(self, metrics: dict[str, float]) -> RoundRecord:
        """Append a record to the sweep's metrics. The record's round index counts the ended trials."""
        round_idx = len(complete_lines(self.folder / "metrics.jsonl"))
        record = RoundRecord(round_idx, time.time_ns() // 1_000_000, metrics)
        self._append("metrics.jsonl", [record.to_line()])
        return record

    def run_folders(self, number: int) -> list[Path]:
        """Return the folders of a trial's runs, oldest first; population-based training creates several."""
        stem = f"{self.sweep_id}-{number:03d}"
        first = [self.folder / stem] if (self.folder / stem).is_dir() else []
        later = sorted(self.folder.glob(f"{stem}-g*"), key=lambda path: int(path.name.rpartition("-g")[2]))
        return first + later

    def run_folder(self, number: int) -> Path:
        """Return the folder of a trial's current run, or the future folder of its first run."""
        runs = [folder for folder in self.run_folders(number) if is_run(folder)]
        return runs[-1] if runs else self.folder / f"{self.sweep_id}-{number:03d}"

    def next_run_folder(self, number: int) -> Path:
        """Return the folder for the run that continues from another trial's model.

        The folder may exist already, incomplete, if a process was killed while it created the run.
        """
        folders = [folder for folder in self.run_folders(number) if is_run(folder)]
        stem = f"{self.sweep_id}-{number:03d}"
        generation = folders[-1].name.removeprefix(stem).removeprefix("-g") if folders else ""
        return self.folder / f"{stem}-g{int(generation or 0) + 1}"

    def data_notes(self) -> list[str]:
        """Return the notes of all runs on how they read their data, without duplicates."""
        runs = [
            RunStore(folder) for t in self.trials() for folder in self.run_folders(t.number) if is_run(folder)
        ]
        return list(dict.fromkeys(line for run in runs for line in run.about().get(DATA_NOTES, [])))

    def mark_superseded(self, number: int) -> None:
        """Write the name of a trial's current run into run.json of the trial's earlier runs."""
        folders = [folder for folder in self.run_folders(number) if is_run(folder)]
        for folder in folders[:-1]:
            run = RunStore(folder)
            if run.about().get("superseded_by") != folders[-1].name:
                run.describe_again({**run.about(), "superseded_by": folders[-1].name})

    def _append(self, name: str, lines: Sequence[str]) -> None:
        path = self.folder / name
        num_complete_bytes = sum(len(line) + 1 for line in complete_lines(path))
        if path.exists():
            # a killed process may have left a partial line, which must not become the start of the next line
            os.truncate(path, num_complete_bytes)
        append_durably(path, "".join(f"{line}\n" for line in lines).encode())

    def _read(self, name: str, parse: Any) -> list[Any]:
        parsed = []
        for number, line in enumerate(complete_lines(self.folder / name), 1):
            try:
                parsed.append(parse(line))
            except (ValueError, TypeError) as error:
                path = self.folder / name
                raise CheckpointError(
                    f"cannot read line {number} of {path}: {error}; restore the file, or start a new sweep"
                ) from error
        return parsed


def discard_incomplete_run(folder: Path) -> None:
    """Remove a run's folder without run.json, which a process left when it was killed while it created the run.

    Raises CheckpointError when another process has locked the folder, because it then still creates the run.
    """
    if folder.is_dir() and not is_run(folder):
        with locked_folder(folder):
            shutil.rmtree(folder)


def current_trial(run: RunStore, trial: TrialSpec) -> TrialSpec:
    """Return the trial with the values of its current run, which population-based training may have changed."""
    return TrialSpec(number=trial.number, values=run.about().get(VALUES_NOTE, trial.values))
