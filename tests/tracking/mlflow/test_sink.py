"""The sink on a store in memory that fails and recovers; the tests control the clock."""

import logging
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from orchestrator.errors import CheckpointError
from orchestrator.tracking.record import read_records
from orchestrator.tracking.tracker import TrackingOutcome
from tests.support.memory_store import (
    Clock,
    MemoryStore,
    ProcessKilled,
    commit,
    deliver,
    points,
    record,
    run_info,
    sink_on,
)


def test_sink_delivers_params_tags_points_and_status(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir, params={f"p{i}": "x" * 7000 for i in range(150)}))
    for round_idx in range(3):
        sink.log(commit(run_dir, round_idx))
        assert store.points["m0"] == points(*range(round_idx + 1))
    sink.finish("FINISHED", {"accuracy": 0.5, "run_id": "r1"})
    assert sink.close() == TrackingOutcome("m0", 3, None)
    run = store.runs["m0"]
    assert (run.info.status, run.info.end_time, run.name) == ("FINISHED", record(2).timestamp_ms, "a run")
    assert len(run.data.params) == 150
    assert run.tags["method"] == "fedavg"
    assert run.tags["sparsefleet.run_id"] == "r1"
    assert store.points["m0"] == [*points(0, 1, 2), ("accuracy", 2, record(2).timestamp_ms, 0.5)]
    assert store.artifacts["m0"] == {"summary.json", "metrics.jsonl", "curves.png"}


def test_sink_sends_only_committed_rounds(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    commit(run_dir, 0, 1)
    sink.start(run_info(run_dir))
    sink.log(record(0))
    assert store.points["m0"] == points(0)
    assert sink.close() == TrackingOutcome("m0", 1, None)


def test_sink_delivers_metrics_although_the_artifact_store_fails(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    run_dir.mkdir()
    (run_dir / "partition.parquet").write_bytes(b"a first artifact")
    store.broken = {"log_artifact"}
    sink = sink_on(store, clock)
    sink.start(run_info(run_dir))
    for round_idx in range(3):
        clock.now_s += 100.0
        sink.log(commit(run_dir, round_idx))
    assert store.points["m0"] == points(0, 1, 2)
    sink.finish("FINISHED", {})
    assert store.runs["m0"].info.status == "FINISHED"
    assert "Permission denied" in (sink.outcome().problem or "")


def test_sink_sends_at_most_a_thousand_points_per_call(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    num_before = len(store.calls)
    sink.log(commit(run_dir, *range(1201)))
    assert store.calls[num_before:] == ["log_batch"] * 3  # 2 metrics a round: 500, 500 and 201 rounds
    assert store.points["m0"] == points(*range(1201))


def test_sink_delivers_everything_after_an_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    store.outage = ConnectionRefusedError(111, "Connection refused")
    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        sink.start(run_info(run_dir))
        for round_idx in range(4):
            clock.now_s += 1.0
            sink.log(commit(run_dir, round_idx))
        assert store.runs == {}
        store.outage = None
        clock.now_s += 30.0
        sink.log(commit(run_dir, 4))
    assert store.points["m0"] == points(0, 1, 2, 3, 4)
    (warning,) = (entry.message for entry in caplog.records)
    assert "http://tracking:5000: " in warning
    assert "ConnectionRefusedError: [Errno 111]" in warning
    assert store.runs["m0"].info.start_time == record(0).timestamp_ms
    sink.finish("FINISHED", {})
    assert sink.close() == TrackingOutcome("m0", 5, None)


def test_sink_doubles_the_wait_between_attempts(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    store.outage = ConnectionRefusedError()
    sink.start(run_info(run_dir))
    for round_idx in range(40):  # four rounds a second for ten seconds
        clock.now_s += 0.25
        sink.log(commit(run_dir, round_idx))
    assert store.calls == ["connect"] * 5  # at 0, 0.5, 1.5, 3.5 and 7.5 s


def test_finish_waits_for_the_server(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    sink.start(run_info(run_dir))
    store.outage = ConnectionRefusedError()
    sink.log(commit(run_dir, 0))
    clock.at[5.0] = lambda: setattr(store, "outage", None)
    sink.finish("FINISHED", {})
    assert clock.waits_s == [1.0, 2.0, 4.0]
    assert sink.close() == TrackingOutcome("m0", 1, None)
    assert store.points["m0"] == points(0)
    assert store.runs["m0"].info.status == "FINISHED"


def test_close_reports_missing_rounds_and_the_command_that_delivers_them(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    sink.start(run_info(run_dir, uri="http://ann:secret@tracking:5000"))
    sink.log(commit(run_dir, 0))
    store.outage = ConnectionRefusedError(111, "Connection refused")
    sink.log(commit(run_dir, 1))
    sink.finish("FINISHED", {})
    outcome = sink.close()
    assert sum(clock.waits_s) == pytest.approx(10.0)
    assert (outcome.mlflow_run_id, outcome.num_logged) == ("m0", 1)
    problem = str(outcome.problem)
    assert problem.startswith("MLflow at http://tracking:5000 ")
    for token in ("ConnectionRefusedError", "1 of 2 rounds", str(run_dir), f"sparsefleet resume {run_dir}`"):
        assert token in problem
    assert "secret" not in problem
    assert "secret" not in (run_dir / "tracking.json").read_text()

    store.outage = None
    assert deliver(store, run_dir) == TrackingOutcome("m0", 2, None)
    assert store.points == {"m0": points(0, 1)}


def test_sink_does_not_retry_a_rejected_request(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    sink.start(run_info(run_dir))
    store.outage = MlflowException("no such permission", PERMISSION_DENIED)
    sink.log(commit(run_dir, 0))
    sink.finish("FINISHED", {})
    assert clock.waits_s == []
    assert "no such permission" in str(sink.close().problem)


@pytest.mark.parametrize("call", range(10))
def test_delivery_is_exactly_once_when_the_process_is_killed_after_any_call(
    tmp_path: Path, call: int
) -> None:
    """The store has completed the call; the process is killed before it saves the state. Then the run resumes."""
    store, run_dir = MemoryStore(), tmp_path / "r1"
    store.killed_after = call
    with pytest.raises(ProcessKilled):
        deliver(store, run_dir, 0, 1)
    num_committed = len(read_records(run_dir / "metrics.jsonl"))
    assert deliver(store, run_dir, *range(num_committed, 2)) == TrackingOutcome("m0", 2, None)
    assert store.points == {"m0": points(0, 1)}
    assert store.runs["m0"].info.status == "FINISHED"
    assert store.runs["m0"].data.params == {"seed": "0", "training.rounds": "3"}


def test_calls_of_a_run(tmp_path: Path) -> None:
    """The calls after which the test above kills the process."""
    store = MemoryStore()
    deliver(store, tmp_path / "r1", 0, 1)
    opening = ["connect", "get_experiment_by_name", "create_experiment", "search_runs", "create_run"]
    ending = ["get_run", "log_batch", "log_artifact", "log_artifact", "log_artifact", "set_terminated"]
    search = ["get_run", "search_runs"]
    assert store.calls == [*opening, "log_batch", "log_batch", "log_batch", *ending, *search]


def test_extended_run_uses_the_same_mlflow_run(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    deliver(store, run_dir, 0, 1, 2)
    sink = sink_on(store)
    sink.start(run_info(run_dir, params={"seed": "0", "training.rounds": "5"}))
    assert store.runs["m0"].info.status == "RUNNING"
    sink.log(commit(run_dir, 3, 4))
    assert store.points == {"m0": points(0, 1, 2, 3, 4)}
    assert store.runs["m0"].data.params == {"seed": "0", "training.rounds": "3"}
    assert store.runs["m0"].tags["sparsefleet.resumed.training.rounds"] == "5"
    assert "sparsefleet.resumed.seed" not in store.runs["m0"].tags


def test_run_that_was_deleted_in_mlflow_is_delivered_again(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    deliver(store, run_dir, 0)
    store.runs["m0"].info.lifecycle_stage = "deleted"
    assert deliver(store, run_dir) == TrackingOutcome("m1", 1, None)
    assert store.points["m1"] == points(0)


def test_two_folders_of_one_name_get_different_mlflow_runs(tmp_path: Path) -> None:
    store = MemoryStore()
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        deliver(store, tmp_path / parent / "r1", 0)
    assert store.points == {"m0": points(0), "m1": points(0)}


def test_status_is_final_when_artifacts_are_rejected(tmp_path: Path) -> None:
    store = MemoryStore()
    store.failures = {9: MlflowException("not allowed", PERMISSION_DENIED)}
    outcome = deliver(store, tmp_path / "r1", 0)
    assert store.calls[9] == "log_artifact"
    assert store.runs["m0"].info.status == "FINISHED"
    assert "not allowed" in str(outcome.problem)


def test_failing_plot_is_reported_and_the_rest_is_delivered(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    run_dir.mkdir()
    (run_dir / "partition.parquet").write_text("not a table")
    outcome = deliver(store, run_dir, 0)
    assert outcome.num_logged == 1
    assert "partition.png" in str(outcome.problem)
    assert store.artifacts["m0"] == {"summary.json", "metrics.jsonl", "curves.png", "partition.parquet"}
    assert store.runs["m0"].info.status == "FINISHED"


def test_damaged_metrics_file_raises_an_error(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    (run_dir / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(CheckpointError, match="line 1"):
        sink.log(record(0))


def test_abandoned_run_is_killed_and_a_resumed_run_delivers_the_rest(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    commit(run_dir, 0, 1)
    sink.abandon(1.0)
    assert store.runs["m0"].info.status == "KILLED"
    assert store.points["m0"] == []
    deliver(store, run_dir, 2)
    assert store.points["m0"] == points(0, 1, 2)


def test_abandon_changes_no_run_that_has_ended_and_ignores_errors(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.abandon(1.0)
    sink.start(run_info(run_dir))
    sink.log(commit(run_dir, 0))
    store.outage = ConnectionRefusedError(111, "Connection refused")
    sink.abandon(1.0)
    assert store.runs["m0"].info.status == "RUNNING"
    store.outage = None
    sink.finish("FINISHED", {})
    sink.abandon(1.0)
    assert store.runs["m0"].info.status == "FINISHED"


def test_empty_run_of_the_same_delivery_is_deleted(tmp_path: Path) -> None:
    """The server creates a run although the client has given up the request, and the client creates another."""
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    tags = store.runs["m0"].tags
    late = store.create_run("e", 0, tags, "late").info.run_id
    used = store.create_run("e", 0, tags, "used by somebody").info.run_id
    other = store.create_run("e", 0, {**tags, "sparsefleet.delivery_id": "other"}, "other").info.run_id
    store.runs[used].data.params["seed"] = "0"
    commit(run_dir, 0)
    sink.finish("FINISHED", {})
    stages = {run_id: store.runs[run_id].info.lifecycle_stage for run_id in ("m0", late, used, other)}
    assert stages == {"m0": "active", late: "deleted", used: "active", other: "active"}
