"""Selects the runs of a comparison by name, sweep, display name and tags."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from orchestrator.analysis.options import METRICS
from orchestrator.analysis.runs import ComparedRun, mlflow_run_id, read_head, with_records
from orchestrator.errors import CheckpointError, RequestError
from orchestrator.formatting import counted
from orchestrator.storage.folders import SWEEP_FILE, is_run, is_sweep
from orchestrator.storage.lookup import find_folder
from orchestrator.suggest import suggest


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedRuns:
    """The selected runs, ordered by run id, and a note about each run that was left out."""

    runs: tuple[ComparedRun, ...]
    notes: tuple[str, ...]


def select_runs(
    storage: Path,
    names: Sequence[str] = (),
    *,
    sweep: str | None = None,
    name: str | None = None,
    tags: Mapping[str, str] = {},
) -> SelectedRuns:
    """Select runs in a storage folder, including the trials of its sweeps.

    - `names`: run ids, run folders, MLflow run ids, or glob patterns for run ids. A run matches if one of them matches.
    - `sweep`: id or folder of a sweep; selects trials of this sweep only.
    - `name`: glob pattern for display names; selects matching runs only.
    - `tags`: tag -> value; selects runs that have all of them.

    Without any criterion, the function selects all runs outside of sweeps. It leaves out, with a note, unreadable runs,
    runs without an evaluated round, and superseded runs that `names` does not name exactly. Raises RequestError for a
    criterion without a match.
    """
    folders = run_folders(storage)
    exact: set[Path] = set()
    if names:
        found, exact = _named(names, storage, folders)
    elif sweep is not None or name is not None or tags:
        found = folders
    else:
        found = [folder for folder in folders if folder.parent == storage.resolve()]
    if sweep is not None:
        found = _trials(sweep, storage, found, named=bool(names))
    runs, notes = _readable((folder.name, partial(read_head, folder)) for folder in found)
    runs = _matching(runs, name, tags)
    runs, superseded = _without_superseded(runs, exact)
    runs, unreadable = _readable((run.run_id, partial(with_records, run)) for run in runs)
    runs, unevaluated = _evaluated(runs)
    notes += superseded + unreadable + unevaluated
    if not runs:
        problem = f"there is no run to compare: {'; '.join(notes)}" if notes else "the folder contains no run"
        raise RequestError("runtime.storage", storage, problem, "name runs, or another storage folder")
    return SelectedRuns(
        runs=tuple(sorted(runs, key=lambda run: (run.run_id, run.folder))), notes=tuple(notes)
    )


def run_folders(storage: Path) -> list[Path]:
    """Return the absolute paths of all run folders, including the trials of sweeps."""
    if not storage.is_dir():
        raise RequestError(
            "runtime.storage", storage, "this folder does not exist", "name the folder of the runs"
        )
    folders = []
    for folder in sorted(path for path in storage.resolve().iterdir() if path.is_dir()):
        if is_run(folder):
            folders.append(folder)
        elif is_sweep(folder):
            folders += sorted(trial for trial in folder.iterdir() if is_run(trial))
    return folders


def _named(names: Iterable[str], storage: Path, folders: Sequence[Path]) -> tuple[list[Path], set[Path]]:
    """Return the runs that match the names, without duplicates, and the runs that a name matches exactly."""
    found: dict[Path, None] = {}
    exact: set[Path] = set()
    for name in names:
        matches = _exact_matches(name, storage, folders)
        exact.update(matches)
        matches = matches or [folder for folder in folders if fnmatchcase(folder.name, name)]
        if not matches:
            raise _unknown_run(name, storage, folders)
        found |= dict.fromkeys(matches)
    return list(found), exact


def _exact_matches(name: str, storage: Path, folders: Sequence[Path]) -> list[Path]:
    if (found := find_folder(name, storage, is_run)) is not None:
        return [found]
    return [folder for folder in folders if mlflow_run_id(folder) == name]


def _unknown_run(name: str, storage: Path, folders: Sequence[Path]) -> RequestError:
    if find_folder(name, storage, is_sweep) is not None:
        return RequestError("RUN", name, "this is a sweep, not a run", f"use --sweep {name}")
    remedy = suggest(name, [folder.name for folder in folders])
    return RequestError("RUN", name, "no run has this id or matches this pattern", remedy)


def _trials(sweep: str, storage: Path, found: Sequence[Path], *, named: bool) -> list[Path]:
    place = find_folder(sweep, storage, is_sweep)
    if place is None:
        ids = [path.parent.name for path in sorted(storage.glob(f"*/{SWEEP_FILE}"))]
        problem = f"there is no sweep at this path, and none with this id in {storage}"
        raise RequestError("--sweep", sweep, problem, suggest(sweep, ids))
    if not named:
        found = sorted(trial for trial in place.iterdir() if is_run(trial))
    trials = [folder for folder in found if folder.parent == place]
    if not trials:
        problem = (
            "none of the named runs is a trial of this sweep" if named else "this sweep has no trials yet"
        )
        raise RequestError("--sweep", sweep, problem, "name another sweep")
    return trials


def _matching(runs: list[ComparedRun], name: str | None, tags: Mapping[str, str]) -> list[ComparedRun]:
    if name is not None and runs:
        remedy = suggest(name, [run.name for run in runs])
        runs = [run for run in runs if fnmatchcase(run.name, name)]
        if not runs:
            raise RequestError("--name", name, "no display name matches", remedy)
    for tag, value in tags.items():
        if not runs:
            break
        values = sorted({run.tags[tag] for run in runs if tag in run.tags})
        existing = sorted({tag for run in runs for tag in run.tags})
        runs = [run for run in runs if run.tags.get(tag) == value]
        if not runs:
            problem, remedy = "no run has this value of the tag", suggest(value, values)
            if not values:
                problem, remedy = "no run has this tag", suggest(tag, existing)
            raise RequestError("--tag", f"{tag}={value}", problem, remedy)
    return runs


def _readable(
    reads: Iterable[tuple[str, Callable[[], ComparedRun]]],
) -> tuple[list[ComparedRun], list[str]]:
    runs, notes = [], []
    for run_id, read in reads:
        try:
            runs.append(read())
        except CheckpointError as error:
            notes.append(f"{run_id} is left out: {error}")
    return runs, notes


def _without_superseded(runs: list[ComparedRun], exact: set[Path]) -> tuple[list[ComparedRun], list[str]]:
    notes = [
        f"{run.run_id} is left out: {run.superseded_by} replaced it"
        for run in runs
        if run.superseded_by and run.folder not in exact
    ]
    return [run for run in runs if not run.superseded_by or run.folder in exact], notes


def _evaluated(runs: list[ComparedRun]) -> tuple[list[ComparedRun], list[str]]:
    names = set(METRICS.values())
    kept, notes = [], []
    for run in runs:
        if any(names & record.metrics.keys() for record in run.records):
            kept.append(run)
        else:
            notes.append(
                f"{run.run_id} is left out: none of its {counted(len(run.records), 'round')} was evaluated"
            )
    return kept, notes
