"""The execution of the remaining rounds of a run in this process."""

from pathlib import Path

import pytest
import torch

from orchestrator.errors import RoundError
from orchestrator.runtime.run_execution import execute_run
from orchestrator.runtime.run_folder import begin_run
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.record import RoundRecord
from tests.support.displays import Notes
from tests.support.runs import fresh

CLIENT_FAILS = ("chaos.client_raises=1", "chaos.tries=9", "runtime.max_retries=0")


class ThreadNotes(Notes):
    """Also records how many threads torch has in each round."""

    def __init__(self) -> None:
        super().__init__()
        self.num_threads: list[int] = []

    def update(self, record: RoundRecord) -> None:
        """See Display."""
        super().update(record)
        self.num_threads.append(torch.get_num_threads())


def test_torch_has_one_thread_during_a_run_in_this_process(tmp_path: Path) -> None:
    experiment, display = fresh("training.rounds=2"), ThreadNotes()
    store = begin_run(experiment, tmp_path / "run")
    torch.set_num_threads(2)
    try:
        with store.locked():
            execute_run(experiment, store, display, False, "tracked nowhere")
        assert (display.num_threads, torch.get_num_threads()) == ([1, 1], 2)
    finally:
        torch.set_num_threads(1)


def test_execution_runs_all_rounds_and_writes_the_summary(tmp_path: Path) -> None:
    experiment, display = fresh("training.rounds=2"), Notes()
    store = begin_run(experiment, tmp_path / "run")
    with store.locked():
        summary = execute_run(experiment, store, display, False, "tracked nowhere")
    assert (summary.num_rounds, summary.interrupted, display.num_rounds) == (2, False, 2)
    assert RunSummary.read(tmp_path / "run" / "summary.json") == summary
    assert "tracked nowhere" in display.notes


def test_failed_round_leaves_its_cause_and_no_summary(tmp_path: Path) -> None:
    experiment = fresh(*CLIENT_FAILS)
    store = begin_run(experiment, tmp_path / "run")
    with store.locked(), pytest.raises(RoundError):
        execute_run(experiment, store, Notes(), False, "tracked nowhere")
    assert (tmp_path / "run" / "failure.txt").read_text().startswith("RoundError: ")
    assert not (tmp_path / "run" / "summary.json").exists()
