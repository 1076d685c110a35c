"""Reads the runs of a stage's sweep, in the order of the stage's entries."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.analysis.runs import ComparedRun, read_head, with_records
from orchestrator.studies.contrasts import StudyRuns
from orchestrator.studies.execution.listing import Listing
from orchestrator.studies.execution.tuning import SeedRecords
from orchestrator.studies.plan import Cell
from orchestrator.sweeping.store import SweepStore

#: what the errors of all checks for NaN and infinity contain
NOT_FINITE = "not finite"


def tuning_records(folder: Path, listing: Listing, num_seeds: int) -> list[SeedRecords]:
    """Return the records of every entry of a tuning stage with `num_seeds` seeds."""
    runs = _finished_runs(folder, num_seeds)
    by_configuration = [{run.seed: run.records for run in group} for group in _grouped(runs, listing)]
    return [by_configuration[number] for number in listing.index]


def reported_runs(folder: Path, listing: Listing, cells: Sequence[Cell], num_seeds: int) -> StudyRuns:
    """Return the runs of every cell by seed, without runs that have not finished."""
    groups = _grouped(_finished_runs(folder, num_seeds), listing)
    return {
        cell: {run.seed: run for run in groups[number]}
        for cell, number in zip(cells, listing.index, strict=True)
    }


def needs_resume(folder: Path) -> bool:
    """Whether a trial of the sweep failed for another reason than that its training diverged.

    A diverged run would fail again, with the same numbers. It is a result: of an arm that has no outcome.
    """
    endings = SweepStore(folder).endings().values()
    return any(ending.status == "failed" and NOT_FINITE not in ending.cause for ending in endings)


def _finished_runs(folder: Path, num_seeds: int) -> dict[int, list[ComparedRun]]:
    """Return the finished runs by the number of their configuration; a trial's number counts seeds first."""
    store = SweepStore(folder)
    found: dict[int, list[ComparedRun]] = {}
    for number, ending in sorted(store.endings().items()):
        if ending.status == "finished" and ending.run_id is not None:
            run = with_records(read_head(folder / ending.run_id))
            found.setdefault(number // num_seeds, []).append(run)
    return found


def _grouped(runs: dict[int, list[ComparedRun]], listing: Listing) -> list[list[ComparedRun]]:
    return [runs.get(number, []) for number in range(len(listing.configurations))]
