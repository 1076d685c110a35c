"""The sink against a store in memory that goes away and comes back; the clock is ours."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_ALREADY_EXISTS

from orchestrator.errors import CheckpointError
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo, read_records
from orchestrator.tracking.tracker import TrackingOutcome

Point = tuple[str, int, int, float]


class Died(BaseException):
    """As kill -9: no handler runs."""


class MemoryStore:
    """What MLflow's SQL store does with the calls we make, limits included.

    Call number n (0-based) raises `failures[n]`, each raises `away` while that is set, and the process dies
    when call number `dies_after` is done.
    """

    def __init__(self) -> None:
        self.away: Exception | None = None
        self.failures: dict[int, Exception] = {}
        self.dies_after = -1
        self.calls: list[str] = []
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, SimpleNamespace] = {}
        self.points: dict[str, list[Point]] = {}
        self.artifacts: dict[str, set[str]] = {}

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if not callable(value):
            return value

        def called(*args: object, **kwargs: object) -> object:
            index = len(self.calls)
            self.calls.append(name)
            failure = self.failures.get(index, self.away)
            if failure is not None:
                raise failure
            result = value(*args, **kwargs)
            if index == self.dies_after:
                raise Died
            return result

        return called

    def connect(self, uri: str) -> "MemoryStore":
        """What a client factory returns; the store itself is the client."""
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        stage = self.experiments.get(name)
        return None if stage is None else SimpleNamespace(experiment_id=name, lifecycle_stage=stage)

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        if name in self.experiments:
            raise MlflowException("exists", RESOURCE_ALREADY_EXISTS)
        self.experiments[name] = "active"
        return name

    def search_runs(self, experiment_ids: list[str], text: str, max_results: int) -> list[SimpleNamespace]:
        value = text.removeprefix("tags.`sparsefleet.delivery_id` = ").strip("'")
        active = [run for run in self.runs.values() if run.info.lifecycle_stage == "active"]
        found = [run for run in active if run.tags["sparsefleet.delivery_id"] == value]
        return [run for run in found if run.experiment_id in experiment_ids][:max_results]

    def create_run(
        self, experiment_id: str, start_time: int, tags: dict[str, str], run_name: str
    ) -> SimpleNamespace:
        run_id = f"m{len(self.runs)}"
        info = SimpleNamespace(
            run_id=run_id, status="RUNNING", lifecycle_stage="active", start_time=start_time, end_time=None
        )
        self.runs[run_id] = SimpleNamespace(
            info=info,
            data=SimpleNamespace(params={}),
            tags=dict(tags),
            experiment_id=experiment_id,
            name=run_name,
        )
        self.points[run_id], self.artifacts[run_id] = [], set()
        return self.runs[run_id]

    def get_run(self, run_id: str) -> SimpleNamespace:
        return self.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
    ) -> None:
        assert len(metrics) <= 1000
        assert len(params) <= 100
        assert len(tags) <= 100
        new = [(metric.key, metric.step, metric.timestamp, metric.value) for metric in metrics]
        self.points[run_id] += [point for point in new if point not in self.points[run_id]]
        for param in params:
            assert len(param.value) <= 6000
            assert self.runs[run_id].data.params.setdefault(param.key, param.value) == param.value
        self.runs[run_id].tags.update({tag.key: tag.value for tag in tags})

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None) -> None:
        self.artifacts[run_id].add(artifact_path or Path(local_path).name)

    def set_terminated(self, run_id: str, status: str, end_time: int | None) -> None:
        self.runs[run_id].info.status, self.runs[run_id].info.end_time = status, end_time


class Clock:
    """Seconds that pass only when someone sleeps; `at` runs a function once a time has come."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []
        self.at: dict[float, Callable[[], None]] = {}

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds
        for moment in [moment for moment in self.at if moment <= self.now_s]:
            self.at.pop(moment)()


def record(round_idx: int) -> RoundRecord:
    metrics = {"eval/accuracy": round_idx / 7, "comm/upload_bytes": 1000.0}
    return RoundRecord(round_idx, 1_700_000_000_000 + 1000 * round_idx, metrics)


def points(*round_idxs: int) -> list[Point]:
    return [
        (name, r.round_idx, r.timestamp_ms, value)
        for r in map(record, round_idxs)
        for name, value in r.metrics.items()
    ]


def commit(run_dir: Path, *round_idxs: int) -> RoundRecord:
    """Append rounds to the run's file, as the driver does; returns the last."""
    run_dir.mkdir(exist_ok=True)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.writelines(record(round_idx).to_line() + "\n" for round_idx in round_idxs)
    return record(round_idxs[-1])


def about(
    run_dir: Path, *, params: dict[str, str] | None = None, uri: str = "http://tracking:5000"
) -> RunInfo:
    run_dir.mkdir(exist_ok=True)
    return RunInfo(
        run_id=run_dir.name,
        run_dir=str(run_dir),
        uri=uri,
        experiment="e",
        artifact_root=None,
        run_name="a run",
        params=params or {"seed": "0", "training.rounds": "3"},
        tags={"method": "fedavg"},
        flush_timeout_s=10.0,
    )


def sink_on(store: MemoryStore, clock: Clock | None = None) -> MlflowSink:
    clock = clock or Clock()
    return MlflowSink(store.connect, clock=clock, sleep=clock.sleep)


def follow(store: MemoryStore, run_dir: Path, *round_idxs: int) -> TrackingOutcome:
    """A process that runs these rounds and finishes."""
    sink = sink_on(store)
    sink.start(about(run_dir))
    for round_idx in round_idxs:
        sink.log(commit(run_dir, round_idx))
    sink.finish("FINISHED", {})
    return sink.close()


def test_a_run_arrives_with_params_tags_points_and_status(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(about(run_dir, params={f"p{i}": "x" * 7000 for i in range(150)}))
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
    assert run.tags["summary.accuracy"] == "0.5"
    assert store.artifacts["m0"] == {"summary.json", "metrics.jsonl", "curves.png"}


def test_only_committed_rounds_are_sent(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    commit(run_dir, 0, 1)
    sink.start(about(run_dir))
    sink.log(record(0))
    assert store.points["m0"] == points(0)
    assert sink.close() == TrackingOutcome("m0", 1, None)


def test_pending_rounds_go_in_groups_of_at_most_a_thousand_points(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(about(run_dir))
    num_before = len(store.calls)
    sink.log(commit(run_dir, *range(1201)))
    assert store.calls[num_before:] == ["log_batch"] * 3  # 2 metrics a round: 500, 500 and 201 rounds
    assert store.points["m0"] == points(*range(1201))


def test_a_server_that_is_away_for_a_while_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    store.away = ConnectionRefusedError(111, "Connection refused")
    with caplog.at_level(logging.WARNING):
        sink.start(about(run_dir))
        for round_idx in range(4):
            clock.now_s += 1.0
            sink.log(commit(run_dir, round_idx))
        assert store.runs == {}
        store.away = None
        clock.now_s += 30.0
        sink.log(commit(run_dir, 4))
    assert store.points["m0"] == points(0, 1, 2, 3, 4)
    assert [entry.message for entry in caplog.records] == [
        "MLflow at http://tracking:5000: ConnectionRefusedError: [Errno 111] Connection refused; "
        "the run goes on, its metrics are kept"
    ]
    assert store.runs["m0"].info.start_time == record(0).timestamp_ms
    sink.finish("FINISHED", {})
    assert sink.close() == TrackingOutcome("m0", 5, None)


def test_tries_are_spaced_out(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    store.away = ConnectionRefusedError()
    sink.start(about(run_dir))
    for round_idx in range(40):  # four rounds a second for ten seconds
        clock.now_s += 0.25
        sink.log(commit(run_dir, round_idx))
    assert store.calls == ["connect"] * 5  # at 0, 0.5, 1.5, 3.5 and 7.5 s


def test_the_end_waits_for_the_server(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    sink.start(about(run_dir))
    store.away = ConnectionRefusedError()
    sink.log(commit(run_dir, 0))
    clock.at[5.0] = lambda: setattr(store, "away", None)
    sink.finish("FINISHED", {})
    assert clock.waits_s == [1.0, 2.0, 4.0]
    assert sink.close() == TrackingOutcome("m0", 1, None)
    assert store.points["m0"] == points(0)
    assert store.runs["m0"].info.status == "FINISHED"


def test_a_server_that_stays_away_is_reported_with_the_remedy(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    sink.start(about(run_dir, uri="http://ann:secret@tracking:5000"))
    sink.log(commit(run_dir, 0))
    store.away = ConnectionRefusedError(111, "Connection refused")
    sink.log(commit(run_dir, 1))
    sink.finish("FINISHED", {})
    outcome = sink.close()
    assert sum(clock.waits_s) == pytest.approx(10.0)
    assert (outcome.mlflow_run_id, outcome.num_logged) == ("m0", 1)
    assert outcome.problem == (
        "MLflow at http://tracking:5000 did not take everything (ConnectionRefusedError: [Errno 111] "
        f"Connection refused): it holds 1 of 2 rounds, all of them are safe in {run_dir}; "
        "`sparsefleet resume r1` delivers the rest"
    )
    assert "secret" not in (run_dir / "tracking.json").read_text()

    store.away = None
    assert follow(store, run_dir) == TrackingOutcome("m0", 2, None)
    assert store.points == {"m0": points(0, 1)}


def test_a_refusal_is_not_repeated(tmp_path: Path) -> None:
    store, clock, run_dir = MemoryStore(), Clock(), tmp_path / "r1"
    sink = sink_on(store, clock)
    sink.start(about(run_dir))
    store.away = MlflowException("no such permission", PERMISSION_DENIED)
    sink.log(commit(run_dir, 0))
    sink.finish("FINISHED", {})
    assert clock.waits_s == []
    assert "no such permission" in str(sink.close().problem)


@pytest.mark.parametrize("call", range(10))
def test_killed_after_any_call_and_resumed_nothing_is_lost_or_doubled(tmp_path: Path, call: int) -> None:
    """The store has done the call; the process dies before it can note that. Then the run goes on."""
    store, run_dir = MemoryStore(), tmp_path / "r1"
    store.dies_after = call
    with pytest.raises(Died):
        follow(store, run_dir, 0, 1)
    num_committed = len(read_records(run_dir / "metrics.jsonl"))
    assert follow(store, run_dir, *range(num_committed, 2)) == TrackingOutcome("m0", 2, None)
    assert store.points == {"m0": points(0, 1)}
    assert store.runs["m0"].info.status == "FINISHED"
    assert store.runs["m0"].data.params == {"seed": "0", "training.rounds": "3"}


def test_the_calls_of_a_run(tmp_path: Path) -> None:
    """What the test above dies after."""
    store = MemoryStore()
    follow(store, tmp_path / "r1", 0, 1)
    opening = ["connect", "get_experiment_by_name", "create_experiment", "search_runs", "create_run"]
    ending = ["log_batch", "log_artifact", "log_artifact", "log_artifact", "set_terminated"]
    assert store.calls == [*opening, "log_batch", "log_batch", "log_batch", *ending]


def test_an_extended_run_goes_on_in_the_same_one(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    follow(store, run_dir, 0, 1, 2)
    sink = sink_on(store)
    sink.start(about(run_dir, params={"seed": "0", "training.rounds": "5"}))
    assert store.runs["m0"].info.status == "RUNNING"
    sink.log(commit(run_dir, 3, 4))
    assert store.points == {"m0": points(0, 1, 2, 3, 4)}
    assert store.runs["m0"].data.params == {"seed": "0", "training.rounds": "3"}
    assert store.runs["m0"].tags["sparsefleet.resumed.training.rounds"] == "5"
    assert "sparsefleet.resumed.seed" not in store.runs["m0"].tags


def test_a_run_deleted_in_mlflow_is_delivered_anew(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    follow(store, run_dir, 0)
    store.runs["m0"].info.lifecycle_stage = "deleted"
    assert follow(store, run_dir) == TrackingOutcome("m1", 1, None)
    assert store.points["m1"] == points(0)


def test_two_folders_of_one_name_do_not_share_a_run(tmp_path: Path) -> None:
    store = MemoryStore()
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        follow(store, tmp_path / parent / "r1", 0)
    assert store.points == {"m0": points(0), "m1": points(0)}


def test_artifacts_that_are_refused_leave_the_status_right(tmp_path: Path) -> None:
    store = MemoryStore()
    store.failures = {8: MlflowException("not allowed", PERMISSION_DENIED)}
    outcome = follow(store, tmp_path / "r1", 0)
    assert store.calls[8] == "log_artifact"
    assert store.runs["m0"].info.status == "FINISHED"
    assert "not allowed" in str(outcome.problem)


def test_a_picture_that_cannot_be_drawn_is_a_problem_but_the_rest_arrives(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    run_dir.mkdir()
    (run_dir / "partition.parquet").write_text("not a table")
    outcome = follow(store, run_dir, 0)
    assert outcome.num_logged == 1
    assert "the artifact partition.png could not be made (" in str(outcome.problem)
    assert store.artifacts["m0"] == {"summary.json", "metrics.jsonl", "curves.png", "partition.parquet"}
    assert store.runs["m0"].info.status == "FINISHED"


def test_a_damaged_file_of_the_run_is_an_error(tmp_path: Path) -> None:
    store, run_dir = MemoryStore(), tmp_path / "r1"
    sink = sink_on(store)
    sink.start(about(run_dir))
    (run_dir / "metrics.jsonl").write_text("nonsense\n")
    with pytest.raises(CheckpointError, match="line 1"):
        sink.log(record(0))
