"""The sink of a sweep on a real SQLite store: a sweep of two short runs, read back with MLflow's client."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.record import RunInfo
from orchestrator.tracking.sweep_sink import SweepSink
from tests.support.memory_store import commit, record


def _info(root: Path, name: str) -> RunInfo:
    (root / name).mkdir()
    return RunInfo(
        run_id=name,
        run_dir=str(root / name),
        uri=f"sqlite:///{root}/m.db",
        experiment="e",
        artifact_root=None,
        run_name=f"run {name}",
        params={"training.lr": "0.1"},
        tags={"mlflow.user": "ann", "configuration": "feddst"},
        flush_timeout_s=1.0,
    )


def _history(client: MlflowClient, mlflow_run_id: str) -> list[tuple[int, float]]:
    points = client.get_metric_history(mlflow_run_id, "eval/accuracy")
    return sorted((point.step, point.value) for point in points)


def _accuracies(*round_idxs: int) -> list[tuple[int, float]]:
    return [(r, record(r).metrics["eval/accuracy"]) for r in round_idxs]


@pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy is deprecated:DeprecationWarning")
def test_trials_are_child_runs_of_the_sweep(tmp_path: Path) -> None:
    sink = SweepSink()
    parent = sink.open(_info(tmp_path, "sweep"))
    for name in ("a", "b"):
        sink.start(_info(tmp_path, name))
    for round_idx in range(2):
        for name in ("a", "b"):
            commit(tmp_path / name, round_idx)
            sink.advance(name, round_idx)
    sink.end("a", "FINISHED", {"accuracy": 0.5})
    sink.end("b", "KILLED", {})
    sink.log(commit(tmp_path / "sweep", 0))
    sink.finish("FINISHED", {"num_trials": 2})
    assert sink.close() is None

    client = connect(f"sqlite:///{tmp_path}/m.db")
    experiment = client.get_experiment_by_name("e").experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    found = {run.data.tags["sparsefleet.run_id"]: run for run in children}
    assert {name: run.info.status for name, run in found.items()} == {"a": "FINISHED", "b": "KILLED"}
    assert found["a"].info.run_name == "run a"
    assert found["a"].data.params == {"training.lr": "0.1"}
    assert found["a"].data.metrics["accuracy"] == 0.5
    assert f"runs/{parent}?workflowType=machine_learning)" in found["a"].data.tags["mlflow.note.content"]
    for run in children:
        assert _history(client, run.info.run_id) == _accuracies(0, 1)
    assert _history(client, parent) == _accuracies(0)
    assert client.get_run(parent).info.status == "FINISHED"
    assert len(client.search_runs([experiment])) == 3
