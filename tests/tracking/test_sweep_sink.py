"""A sweep's one writer: the sweep is the parent, runs take turns, a store that is away is tried again."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from orchestrator.errors import TrackingError
from orchestrator.tracking.record import RunInfo
from orchestrator.tracking.sweep_sink import SweepSink
from tests.tracking.mlflow.test_sink import (
    Clock,
    MemoryStore,
    about,
    commit,
    points,
)

AWAY = ConnectionRefusedError(111, "Connection refused")


def _info(folder: Path, timeout_s: float = 0.0) -> RunInfo:
    return replace(about(folder), flush_timeout_s=timeout_s)


class Sweep:
    """A sweep's sink on a store in memory, opened, with a folder for each run."""

    def __init__(
        self, store: MemoryStore, root: Path, timeout_s: float = 0.0, interval_s: float = 0.0
    ) -> None:
        self.store, self.root, self._timeout_s = store, root, timeout_s
        self.clock = clock = Clock()
        self.sink = SweepSink(store.connect, interval_s=interval_s, clock=clock, sleep=clock.sleep)
        self.parent = self.sink.open(_info(root / "sweep", timeout_s))

    def start(self, *names: str) -> None:
        for name in names:
            self.sink.start(_info(self.root / name, self._timeout_s))

    @property
    def committed(self) -> list[str]:
        """The lines of run a."""
        log = self.root / "a" / "metrics.jsonl"
        return log.read_text().splitlines() if log.exists() else []

    def advance(self, name: str, round_idx: int) -> None:
        commit(self.root / name, round_idx)
        self.sink.advance(name, round_idx)

    def of(self, name: str) -> str:
        """The MLflow run that follows this folder."""
        (found,) = [m for m, run in self.store.runs.items() if run.tags["sparsefleet.run_id"] == name]
        return found


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(MemoryStore(), tmp_path)


def test_rounds_are_sent_together_a_while_apart_and_all_at_the_end(tmp_path: Path) -> None:
    sweep = Sweep(MemoryStore(), tmp_path, interval_s=2.0)
    sweep.start("a")
    for now_s, held in ((1.0, ()), (2.0, (0, 1)), (3.9, (0, 1)), (4.0, (0, 1, 2, 3))):
        sweep.clock.now_s = now_s
        sweep.advance("a", len(sweep.committed))
        assert sweep.store.points["m1"] == points(*held)
    sweep.advance("a", 4)
    sweep.sink.end("a", "FINISHED", {})
    assert sweep.store.points["m1"] == points(0, 1, 2, 3, 4)


def test_the_sweep_is_opened_first_and_is_the_parent(sweep: Sweep) -> None:
    assert sweep.parent == "m0"
    sweep.start("a", "b")
    tags = [run.tags for run in sweep.store.runs.values()]
    assert [tag.get("mlflow.parentRunId") for tag in tags] == [None, "m0", "m0"]
    assert [tag["sparsefleet.run_id"] for tag in tags] == ["sweep", "a", "b"]
    assert [tag["method"] for tag in tags] == ["fedavg"] * 3, "their own tags stay"
    assert sweep.store.calls.count("connect") == 1


def test_runs_that_take_turns_arrive_once_each(sweep: Sweep) -> None:
    sweep.start("a", "b")
    for round_idx in range(3):
        sweep.advance("a", round_idx)
        sweep.advance("b", round_idx)
        assert sweep.store.points[sweep.of("a")] == points(*range(round_idx + 1))
    sweep.sink.end("a", "FINISHED", {"accuracy": 0.5})
    sweep.advance("b", 3)
    sweep.sink.end("b", "KILLED", {})
    sweep.sink.finish("FINISHED", {"num_trials": 2})
    assert sweep.sink.close() is None
    assert sweep.store.points == {"m0": [], "m1": points(0, 1, 2), "m2": points(0, 1, 2, 3)}
    assert [run.info.status for run in sweep.store.runs.values()] == ["FINISHED", "FINISHED", "KILLED"]
    assert sweep.store.runs["m1"].tags["summary.accuracy"] == "0.5"
    assert sweep.store.runs["m0"].tags["summary.num_trials"] == "2"


def test_an_advance_covers_the_rounds_before_it(sweep: Sweep) -> None:
    sweep.start("a")
    commit(sweep.root / "a", 0, 1, 2, 3)
    sweep.sink.advance("a", 2)
    assert sweep.store.points["m1"] == points(0, 1, 2)


def test_the_sweep_s_own_lines_arrive(sweep: Sweep) -> None:
    for n in range(2):
        sweep.sink.log(commit(sweep.root / "sweep", n))
    assert sweep.store.points["m0"] == points(0, 1)


def test_a_run_that_has_arrived_is_not_kept(sweep: Sweep) -> None:
    sweep.start("a")
    sweep.advance("a", 0)
    sweep.sink.end("a", "FINISHED", {})
    sweep.sink.finish("FINISHED", {})
    num_calls = len(sweep.store.calls)
    assert sweep.sink.close() is None
    assert len(sweep.store.calls) == num_calls


def test_a_run_may_begin_again_in_a_sweep_that_goes_on(sweep: Sweep) -> None:
    sweep.start("a")
    sweep.advance("a", 0)
    again = Sweep(sweep.store, sweep.root)
    assert again.parent == sweep.parent
    again.start("a")
    again.advance("a", 1)
    again.sink.end("a", "FINISHED", {})
    assert sweep.store.points["m1"] == points(0, 1)
    assert len(sweep.store.runs) == 2


class TestAway:
    """A store that does not answer."""

    def test_what_it_missed_arrives_at_close(self, sweep: Sweep) -> None:
        sweep.start("a")
        sweep.store.away = AWAY
        sweep.start("b")
        for round_idx in range(2):
            sweep.advance("a", round_idx)
            sweep.advance("b", round_idx)
        sweep.sink.log(commit(sweep.root / "sweep", 0))
        for name in ("a", "b"):
            sweep.sink.end(name, "FINISHED", {})
        sweep.sink.finish("FINISHED", {})
        assert list(sweep.store.runs) == ["m0", "m1"]
        sweep.store.away = None
        assert sweep.sink.close() is None
        assert sweep.store.points == {"m0": points(0), "m1": points(0, 1), "m2": points(0, 1)}
        assert {run.info.status for run in sweep.store.runs.values()} == {"FINISHED"}
        assert sweep.store.runs["m2"].tags["mlflow.parentRunId"] == "m0"

    def test_what_is_missing_is_said_with_how_many_more(self, sweep: Sweep) -> None:
        sweep.start("a", "b")
        sweep.store.away = AWAY
        sweep.advance("a", 0)
        for name in ("a", "b"):
            sweep.sink.end(name, "FINISHED", {})
        sweep.sink.finish("FINISHED", {})
        problem = str(sweep.sink.close())
        assert "MLflow at http://tracking:5000 did not take everything (ConnectionRefusedError" in problem
        assert "it holds 0 of 1 rounds" in problem
        assert str(sweep.root / "a") in problem
        assert problem.endswith("(and so with 2 more runs of the sweep)")
        assert "\n" not in problem

    def test_one_that_is_missing_is_said_alone(self, sweep: Sweep) -> None:
        sweep.start("a")
        sweep.store.away = AWAY
        sweep.advance("a", 0)
        sweep.sink.end("a", "FINISHED", {})
        sweep.store.away = None
        sweep.sink.finish("FINISHED", {})
        sweep.store.away = AWAY
        assert "more runs" not in str(sweep.sink.close())

    def test_the_remedy_for_the_sweep_s_own_run_goes_on_with_the_sweep(self, sweep: Sweep) -> None:
        """`sparsefleet resume` knows runs; a sweep goes on with `sparsefleet sweep ... --resume`."""
        sweep.store.away = AWAY
        sweep.sink.log(commit(sweep.root / "sweep", 0))
        sweep.sink.finish("FINISHED", {})
        problem = str(sweep.sink.close())
        assert "sparsefleet resume sweep" not in problem
        assert "--resume" in problem

    def test_patience_is_for_all_together(self, tmp_path: Path) -> None:
        """The first run has all of it, a try before and one after; the others have one try each (two calls last)."""
        sweep = Sweep(MemoryStore(), tmp_path, timeout_s=0.1)
        sweep.start("a", "b")
        sweep.store.away = AWAY
        for name in ("a", "b"):
            sweep.advance(name, 0)
        for name in ("a", "b"):
            sweep.sink.end(name, "FINISHED", {})
        sweep.sink.finish("FINISHED", {})
        num_calls = len(sweep.store.calls)
        assert sweep.sink.close() is not None
        assert sweep.store.calls[num_calls:] == ["log_batch"] * (2 + 1 + 1) + ["set_terminated"]

    def test_a_sweep_that_it_does_not_take_is_refused_at_once(self, tmp_path: Path) -> None:
        store = MemoryStore()
        store.away = MlflowException("no such permission", PERMISSION_DENIED)
        with pytest.raises(TrackingError, match="no such permission"):
            Sweep(store, tmp_path)


def test_closing_what_was_never_opened() -> None:
    assert SweepSink(MemoryStore().connect).close() is None
