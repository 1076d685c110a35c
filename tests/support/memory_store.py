"""An MLflow store in memory for tests of sinks, with a clock that tests control."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS

from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import TrackingOutcome

Point = tuple[str, int, int, float]


class ProcessKilled(BaseException):
    """Stands for kill -9: no `except Exception` handler runs."""


class MemoryStore:
    """Behaves like MLflow's SQL store for the calls of a sink, including the limits per call.

    Call number n (0-based) raises `failures[n]`. Every call raises `outage` while it is set, and calls of the functions
    named in `broken` fail. The process is killed after call number `killed_after`.
    """

    def __init__(self) -> None:
        self.outage: Exception | None = None
        self.failures: dict[int, Exception] = {}
        self.broken: set[str] = set()
        self.killed_after = -1
        self.calls: list[str] = []
        self.experiments: dict[str, str] = {}
        self.experiment_tags: dict[str, dict[str, str]] = {}
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
            failure = self.failures.get(index, self.outage)
            if name in self.broken:
                failure = PermissionError(13, "Permission denied")
            if failure is not None:
                raise failure
            result = value(*args, **kwargs)
            if index == self.killed_after:
                raise ProcessKilled
            return result

        return called

    def connect(self, uri: str) -> "MemoryStore":
        """Act as a client factory; the store itself is the client."""
        return self

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        stage = self.experiments.get(name)
        tags = self.experiment_tags.setdefault(name, {})
        return (
            None if stage is None else SimpleNamespace(experiment_id=name, lifecycle_stage=stage, tags=tags)
        )

    def create_experiment(self, name: str, artifact_location: str | None, tags: dict[str, str]) -> str:
        if name in self.experiments:
            raise MlflowException("exists", RESOURCE_ALREADY_EXISTS)
        self.experiments[name] = "active"
        self.experiment_tags[name] = dict(tags)
        return name

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self.experiment_tags[experiment_id][key] = value

    def search_runs(
        self, experiment_ids: list[str], text: str, max_results: int = 1000
    ) -> list[SimpleNamespace]:
        value = text.removeprefix("tags.`sparsefleet.delivery_id` = ").strip("'")
        active = [run for run in self.runs.values() if run.info.lifecycle_stage == "active"]
        found = [run for run in active if run.tags["sparsefleet.delivery_id"] == value]
        return [run for run in found if run.experiment_id in experiment_ids][:max_results]

    def create_run(
        self, experiment_id: str, start_time: int, tags: dict[str, str], run_name: str
    ) -> SimpleNamespace:
        run_id = f"m{len(self.runs)}"
        info = SimpleNamespace(
            run_id=run_id,
            experiment_id=experiment_id,
            status="RUNNING",
            lifecycle_stage="active",
            start_time=start_time,
            end_time=None,
            run_name=run_name,
        )
        stored_tags = dict(tags)
        self.runs[run_id] = SimpleNamespace(
            info=info,
            data=SimpleNamespace(params={}, metrics={}, tags=stored_tags),
            tags=stored_tags,
            datasets=[],
            experiment_id=experiment_id,
            name=run_name,
        )
        self.points[run_id], self.artifacts[run_id] = [], set()
        return self.runs[run_id]

    def get_run(self, run_id: str) -> SimpleNamespace:
        return self.runs[run_id]

    def delete_run(self, run_id: str) -> None:
        self.runs[run_id].info.lifecycle_stage = "deleted"

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
        self.runs[run_id].data.metrics |= {metric.key: metric.value for metric in metrics}
        for param in params:
            assert len(param.value) <= 6000
            assert self.runs[run_id].data.params.setdefault(param.key, param.value) == param.value
        self.runs[run_id].tags.update({tag.key: tag.value for tag in tags})

    def log_inputs(self, run_id: str, datasets: Sequence[DatasetInput]) -> None:
        present = self.runs[run_id].datasets
        present += [
            new for item in datasets if (new := (item.dataset.name, item.dataset.digest)) not in present
        ]

    def get_metric_history(self, run_id: str, key: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(step=step) for name, step, _, _ in self.points[run_id] if name == key]

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None) -> None:
        self.artifacts[run_id].add(artifact_path or Path(local_path).name)

    def set_terminated(self, run_id: str, status: str, end_time: int | None = None) -> None:
        self.runs[run_id].info.status, self.runs[run_id].info.end_time = status, end_time


class Clock:
    """A clock that advances only in `sleep`; `at` maps a time to a function that runs once at this time."""

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
    metrics = {"eval/accuracy": round_idx / 7, "comm/upload_bytes_total": 1000.0 * round_idx}
    return RoundRecord(round_idx, 1_700_000_000_000 + 1000 * round_idx, metrics)


def points(*round_idxs: int) -> list[Point]:
    """Return the points of rounds as MLflow has them."""
    return [
        (name, r.round_idx, r.timestamp_ms, value)
        for r in map(record, round_idxs)
        for name, value in (
            ("eval/accuracy", r.metrics["eval/accuracy"]),
            ("resources/upload_bytes_total", r.metrics["comm/upload_bytes_total"]),
        )
    ]


def commit(run_dir: Path, *round_idxs: int) -> RoundRecord:
    """Append rounds to the run's `metrics.jsonl`, as the driver does, and return the last record."""
    run_dir.mkdir(exist_ok=True)
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.writelines(record(round_idx).to_line() + "\n" for round_idx in round_idxs)
    return record(round_idxs[-1])


def run_info(
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


def deliver(store: MemoryStore, run_dir: Path, *round_idxs: int) -> TrackingOutcome:
    """Run a process that commits these rounds, delivers them and finishes."""
    sink = sink_on(store)
    sink.start(run_info(run_dir))
    for round_idx in round_idxs:
        sink.log(commit(run_dir, round_idx))
    sink.finish("FINISHED", {})
    return sink.close()
