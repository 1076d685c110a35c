"""Reading the runs of a stage from its sweep."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import RoundError
from orchestrator.studies.execution.listing import Listing
from orchestrator.studies.execution.runs import needs_resume, reported_runs, tuning_records
from orchestrator.studies.plan import Cell
from orchestrator.sweeping.store import EndStatus, SweepStore
from tests.support.run_folders import records, write_run
from tests.support.runs import drive, prepared
from tests.support.sweeps import ending, trial

CELLS = (Cell("digits", "a"), Cell("digits", "b"), Cell("digits", "c"))
#: three entries, of which the last has the config of the first
LISTING = Listing(base={}, configurations=({}, {}), index=(0, 1, 0))


def _sweep(folder: Path, seeds: tuple[int, ...], failed: int | None = None) -> Path:
    """A sweep of two configurations, whose runs all have finished, apart from the trial `failed`."""
    folder.mkdir()
    (folder / "sweep.json").write_text("{}")
    store = SweepStore(folder)
    for number in range(2 * len(seeds)):
        run_id = f"{folder.name}-{number:03d}"
        write_run(folder / run_id, seed=seeds[number % len(seeds)], rounds=records(0.1 * (number + 1)))
        status: EndStatus = "failed" if number == failed else "finished"
        store.add_ending(ending(trial(number), status, run_id))
    return folder


def test_runs_belong_to_cells_by_their_number(tmp_path: Path) -> None:
    runs = reported_runs(_sweep(tmp_path / "sweep-1", (0, 1)), LISTING, CELLS, 2)
    ids = {cell.arm: {seed: run.run_id for seed, run in found.items()} for cell, found in runs.items()}
    first = {0: "sweep-1-000", 1: "sweep-1-001"}
    assert ids == {"a": first, "b": {0: "sweep-1-002", 1: "sweep-1-003"}, "c": first}


def test_failed_runs_are_left_out(tmp_path: Path) -> None:
    runs = reported_runs(_sweep(tmp_path / "sweep-1", (0, 1), failed=3), LISTING, CELLS, 2)
    assert [sorted(found) for found in runs.values()] == [[0, 1], [0], [0, 1]]


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (
            "RoundError: client 3: FloatingPointError: the trained values are not finite; lower training.lr",
            False,
        ),
        ("WireError: item 'theta' contains values that are not finite (3 of 9)", False),
        ("ActorDiedError: the node was lost", True),
    ],
)
def test_only_trials_that_did_not_diverge_run_again(tmp_path: Path, cause: str, expected: bool) -> None:
    folder = _sweep(tmp_path / "sweep-1", (0, 1))
    assert not needs_resume(folder)
    SweepStore(folder).add_ending(replace(ending(trial(3), "failed"), cause=cause))
    assert needs_resume(folder) is expected


def test_tuning_runs_have_the_seeds_of_their_stage(tmp_path: Path) -> None:
    found = tuning_records(_sweep(tmp_path / "sweep-1", (101, 102)), LISTING, 2)
    assert [sorted(each) for each in found] == [[101, 102]] * 3
    assert found[0] == found[2]


def test_a_real_divergence_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(RoundError) as diverged:
        drive(prepared("training.lr=1e30", "training.rounds=3"), tmp_path / "run")
    folder = _sweep(tmp_path / "sweep-1", (0, 1))
    SweepStore(folder).add_ending(replace(ending(trial(3), "failed"), cause=f"RoundError: {diverged.value}"))
    assert not needs_resume(folder)
