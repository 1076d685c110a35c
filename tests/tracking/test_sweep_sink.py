"""The sink of a sweep: parent and child runs, interleaved trials, and outages of the store."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from orchestrator.errors import TrackingError
from orchestrator.tracking.record import RunInfo
from orchestrator.tracking.sweep_sink import SweepSink
from tests.support.memory_store import (
    Clock,
    MemoryStore,
    commit,
    points,
    record,
    run_info,
)

OUTAGE = ConnectionRefusedError(111, "Connection refused")


def _info(folder: Path, timeout_s: float = 0.0) -> RunInfo:
    return replace(run_info(folder), flush_timeout_s=timeout_s)


RESUMPTION = "sparsefleet sweep a-sweep --resume"


class Sweep:
    """An open sink of a sweep on a store in memory, with a folder for each run."""

    def __init__(
        self, store: MemoryStore, root: Path, timeout_s: float = 0.0, interval_s: float = 0.0
    ) -> None:
        self.store, self.root, self._timeout_s = store, root, timeout_s
        self.clock = clock = Clock()
        self.sink = SweepSink(store.connect, interval_s=interval_s, clock=clock, sleep=clock.sleep)
        self.parent = self.sink.open(replace(_info(root / "sweep", timeout_s), resumption=RESUMPTION))

    def start(self, *names: str) -> None:
        for name in names:
            self.sink.start(_info(self.root / name, self._timeout_s))

    @property
    def committed(self) -> list[str]:
        """The lines of the run `a`."""
        log = self.root / "a" / "metrics.jsonl"
        return log.read_text().splitlines() if log.exists() else []

    def advance(self, name: str, round_idx: int) -> None:
        commit(self.root / name, round_idx)
        self.sink.advance(name, round_idx)

    def run_id_of(self, name: str) -> str:
        """The id of the MLflow run of this folder."""
        (found,) = [m for m, run in self.store.runs.items() if run.tags["sparsefleet.run_id"] == name]
        return found


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(MemoryStore(), tmp_path)


def test_rounds_are_sent_in_batches_and_the_rest_at_the_end(tmp_path: Path) -> None:
    sweep = Sweep(MemoryStore(), tmp_path, interval_s=2.0)
    sweep.start("a")
    for now_s, delivered in ((1.0, ()), (2.0, (0, 1)), (3.9, (0, 1)), (4.0, (0, 1, 2, 3))):
        sweep.clock.now_s = now_s
        sweep.advance("a", len(sweep.committed))
        assert sweep.store.points["m1"] == points(*delivered)
    sweep.advance("a", 4)
    sweep.sink.end("a", "FINISHED", {})
    assert sweep.store.points["m1"] == points(0, 1, 2, 3, 4)


def test_sweep_is_the_parent_of_its_trials(sweep: Sweep) -> None:
    assert sweep.parent == "m0"
    sweep.start("a", "b")
    tags = [run.tags for run in sweep.store.runs.values()]
    assert [tag.get("mlflow.parentRunId") for tag in tags] == [None, "m0", "m0"]
    assert [tag["sparsefleet.run_id"] for tag in tags] == ["sweep", "a", "b"]
    assert [tag["method"] for tag in tags] == ["fedavg"] * 3, "their own tags stay"
    assert sweep.store.calls.count("connect") == 1


def test_interleaved_trials_are_delivered_exactly_once(sweep: Sweep) -> None:
    sweep.start("a", "b")
    for round_idx in range(3):
        sweep.advance("a", round_idx)
        sweep.advance("b", round_idx)
        assert sweep.store.points[sweep.run_id_of("a")] == points(*range(round_idx + 1))
    sweep.sink.end("a", "FINISHED", {"accuracy": 0.5})
    sweep.advance("b", 3)
    sweep.sink.end("b", "KILLED", {})
    sweep.sink.log(commit(sweep.root / "sweep", 0))
    sweep.sink.finish("FINISHED", {"num_trials": 2, "best": "a"})
    assert sweep.sink.close() is None
    result = {
        "m0": ("num_trials", 0, record(0).timestamp_ms, 2.0),
        "m1": ("accuracy", 2, record(2).timestamp_ms, 0.5),
    }
    assert sweep.store.points == {
        "m0": [*points(0), result["m0"]],
        "m1": [*points(0, 1, 2), result["m1"]],
        "m2": points(0, 1, 2, 3),
    }
    assert [run.info.status for run in sweep.store.runs.values()] == ["FINISHED", "FINISHED", "KILLED"]
    assert sweep.store.runs["m0"].tags["best"] == "a"


def test_advance_includes_earlier_rounds(sweep: Sweep) -> None:
    sweep.start("a")
    commit(sweep.root / "a", 0, 1, 2, 3)
    sweep.sink.advance("a", 2)
    assert sweep.store.points["m1"] == points(0, 1, 2)


def test_metrics_of_the_sweep_are_delivered(sweep: Sweep) -> None:
    for n in range(2):
        sweep.sink.log(commit(sweep.root / "sweep", n))
    assert sweep.store.points["m0"] == points(0, 1)


def test_delivered_trial_causes_no_calls_at_close(sweep: Sweep) -> None:
    sweep.start("a")
    sweep.advance("a", 0)
    sweep.sink.end("a", "FINISHED", {})
    sweep.sink.finish("FINISHED", {})
    num_calls = len(sweep.store.calls)
    assert sweep.sink.close() is None
    assert len(sweep.store.calls) == num_calls


def test_resumed_sweep_continues_the_runs_of_its_trials(sweep: Sweep) -> None:
    sweep.start("a")
    sweep.advance("a", 0)
    again = Sweep(sweep.store, sweep.root)
    assert again.parent == sweep.parent
    again.start("a")
    again.advance("a", 1)
    again.sink.end("a", "FINISHED", {})
    assert sweep.store.points["m1"] == points(0, 1)
    assert len(sweep.store.runs) == 2


class TestOutage:
    """A store that does not answer."""

    def test_close_delivers_what_was_missed(self, sweep: Sweep) -> None:
        sweep.start("a")
        sweep.store.outage = OUTAGE
        sweep.start("b")
        for round_idx in range(2):
            sweep.advance("a", round_idx)
            sweep.advance("b", round_idx)
        sweep.sink.log(commit(sweep.root / "sweep", 0))
        for name in ("a", "b"):
            sweep.sink.end(name, "FINISHED", {})
        sweep.sink.finish("FINISHED", {})
        assert list(sweep.store.runs) == ["m0", "m1"]
        sweep.store.outage = None
        assert sweep.sink.close() is None
        assert sweep.store.points == {"m0": points(0), "m1": points(0, 1), "m2": points(0, 1)}
        assert {run.info.status for run in sweep.store.runs.values()} == {"FINISHED"}
        assert sweep.store.runs["m2"].tags["mlflow.parentRunId"] == "m0"

    def test_close_reports_the_first_incomplete_run_and_the_number_of_others(self, sweep: Sweep) -> None:
        sweep.start("a", "b")
        sweep.store.outage = OUTAGE
        sweep.advance("a", 0)
        for name in ("a", "b"):
            sweep.sink.end(name, "FINISHED", {})
        sweep.sink.finish("FINISHED", {})
        problem = str(sweep.sink.close())
        for token in ("http://tracking:5000", "ConnectionRefusedError", "0 of 1 round", "2 more runs"):
            assert token in problem
        assert str(sweep.root / "a") in problem
        assert "\n" not in problem

    def test_close_reports_a_single_incomplete_run_without_a_number(self, sweep: Sweep) -> None:
        sweep.start("a")
        sweep.store.outage = OUTAGE
        sweep.advance("a", 0)
        sweep.sink.end("a", "FINISHED", {})
        sweep.store.outage = None
        sweep.sink.finish("FINISHED", {})
        sweep.store.outage = OUTAGE
        assert "more runs" not in str(sweep.sink.close())

    def test_remedy_resumes_the_sweep(self, sweep: Sweep) -> None:
        """`sparsefleet resume` is only for runs."""
        sweep.store.outage = OUTAGE
        sweep.sink.log(commit(sweep.root / "sweep", 0))
        sweep.sink.finish("FINISHED", {})
        problem = str(sweep.sink.close())
        assert "sparsefleet resume sweep" not in problem
        assert RESUMPTION in problem

    def test_all_runs_share_the_time_limit(self, tmp_path: Path) -> None:
        """The first run uses the limit, with an attempt before and after; the others get one attempt each."""
        sweep = Sweep(MemoryStore(), tmp_path, timeout_s=0.1)
        sweep.start("a", "b")
        sweep.store.outage = OUTAGE
        for name in ("a", "b"):
            sweep.advance(name, 0)
        for name in ("a", "b"):
            sweep.sink.end(name, "FINISHED", {})
        sweep.sink.finish("FINISHED", {})
        num_calls = len(sweep.store.calls)
        assert sweep.sink.close() is not None
        assert sweep.store.calls[num_calls:] == ["log_batch"] * (2 + 1) + ["get_run", "set_terminated"]

    def test_open_raises_when_the_store_rejects_the_sweep(self, tmp_path: Path) -> None:
        store = MemoryStore()
        store.outage = MlflowException("no such permission", PERMISSION_DENIED)
        with pytest.raises(TrackingError, match="no such permission"):
            Sweep(store, tmp_path)


def test_close_without_open() -> None:
    assert SweepSink(MemoryStore().connect).close() is None
