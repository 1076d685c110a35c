"""The execution of the remaining rounds of a run in this process."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

from orchestrator.errors import ActorsLostError, RoundError
from orchestrator.runtime.run_execution import execute_run, start_clients_and_tracker
from orchestrator.runtime.run_folder import begin_run
from orchestrator.storage.summary import RunSummary
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import Status, TrackingOutcome
from tests.support.displays import Notes
from tests.support.memory_store import run_info
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


class Calls:
    """A backend without rounds, which is also its tracker; records the order of the calls."""

    description = ""

    def __init__(self, error: BaseException | None = None) -> None:
        """`error` is why the clients cannot start."""
        self.calls: list[str] = []
        self._error = error

    def tracker(self) -> "Calls":
        """See Backend."""
        return self

    def ready(self) -> None:
        """See Backend."""
        self.calls.append("clients")
        if self._error is not None:
            raise self._error

    def records(self) -> Iterator[RoundRecord]:
        """See Backend."""
        return iter(())

    def stop(self) -> None:
        """See Backend."""

    def params_sha256(self) -> str:
        """See Backend."""
        return ""

    def start(self, info: RunInfo) -> None:
        """See Tracker."""
        self.calls.append("tracker")

    def log(self, record: RoundRecord) -> None:
        """See Tracker."""

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """See Tracker."""

    def close(self) -> TrackingOutcome:
        """See Backend and Tracker."""
        return TrackingOutcome(None, 0, None)

    def abandon(self, timeout_s: float) -> None:
        """See Tracker."""


def test_tracker_starts_after_the_clients(tmp_path: Path) -> None:
    calls = Calls()
    start_clients_and_tracker(calls, calls, run_info(tmp_path))
    assert calls.calls == ["clients", "tracker"]


def test_run_whose_clients_cannot_start_is_tracked(tmp_path: Path) -> None:
    """Otherwise MLflow could not show that the run has failed."""
    calls = Calls(ActorsLostError("no actor"))
    with pytest.raises(ActorsLostError, match="no actor"):
        start_clients_and_tracker(calls, calls, run_info(tmp_path))
    assert calls.calls == ["clients", "tracker"]


def test_run_that_is_interrupted_before_its_clients_have_started_is_not_tracked(tmp_path: Path) -> None:
    calls = Calls(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        start_clients_and_tracker(calls, calls, run_info(tmp_path))
    assert calls.calls == ["clients"]


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
