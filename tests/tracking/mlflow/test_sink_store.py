"""The sink on a real SQLite store, read back with MLflow's client."""

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import save_file

from orchestrator.models.registry import resolve_builder
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import TrackingOutcome
from tests.support.saved_models import load_from_mlflow

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}:{category}:{module}")
    for text, category, module in (
        ("The ..noload.. loader strategy is deprecated", "DeprecationWarning", "mlflow.store.tracking"),
        (".*Any type hint is inferred as AnyType", "UserWarning", "mlflow.types"),
    )
]

NUM_ROUNDS = 4
RESULT: Mapping[str, float | int | str] = {"accuracy": 0.5}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store and its runs; its name has a space and an accent."""
    return tmp_path_factory.mktemp("store é 1")


@pytest.fixture(scope="module")
def uri(root: Path) -> str:
    """One store for all tests of this module, because creating a store takes seconds."""
    return f"sqlite:///{root}/db/mlflow.db"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes any network connection fail the test."""

    def fail(*args: object) -> None:
        raise AssertionError(f"connects to {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", fail)


def record(round_idx: int) -> RoundRecord:
    return RoundRecord(
        round_idx,
        1_700_000_000_000 + round_idx,
        {"eval/accuracy": 0.1 * round_idx, "comm/upload_bytes_total": 10.0 * round_idx},
    )


def make_run(run_dir: Path) -> None:
    """Write a run's folder as the driver does, with a perceptron for 1x2x2 images and 3 classes."""
    (run_dir / "model").mkdir(parents=True)
    (run_dir / "config.yaml").write_text("seed: 0\n")
    (run_dir / "metrics.jsonl").write_text("".join(record(r).to_line() + "\n" for r in range(NUM_ROUNDS)))
    events = [{"round_idx": r, "client_id": r % 2, "upload_bytes": 10} for r in range(NUM_ROUNDS)]
    (run_dir / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    pd.DataFrame(events).to_parquet(run_dir / "events.parquet")
    partition = {"client_id": [0, 1], "num_train": [3, 4], "class_0": [1, 4], "class_1": [2, 0]}
    pd.DataFrame(partition).to_parquet(run_dir / "partition.parquet")
    save_file(dict(module().state_dict()), run_dir / "model" / "model.safetensors")
    description = {
        "builder": "mlp",
        "build_seed": 1,
        "input_shape": [1, 2, 2],
        "num_classes": 3,
        "double_softmax": False,
        "file": None,
        "mean": [0.5],
        "std": [0.25],
    }
    (run_dir / "model" / "model.json").write_text(json.dumps(description))


def module() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return resolve_builder("mlp")((1, 2, 2), 3)


def deliver(
    run_dir: Path, uri: str, experiment: str = "e", summary: Mapping[str, float | int | str] = RESULT
) -> TrackingOutcome:
    sink = MlflowSink()
    sink.start(
        RunInfo(
            run_id=run_dir.name,
            run_dir=str(run_dir),
            uri=uri,
            experiment=experiment,
            artifact_root=str(run_dir.parent / "artifact root"),
            run_name="a run",
            params={"training.lr": "0.05"},
            tags={"mlflow.user": "ann"},
            flush_timeout_s=1.0,
        )
    )
    sink.log(record(1))
    sink.finish("FINISHED", summary)
    return sink.close()


def test_model_of_the_best_round_is_logged_once_under_a_name_of_its_own(root: Path, uri: str) -> None:
    make_run(root / "r2d")
    best = shutil.copytree(root / "r2d" / "model", root / "r2d" / "best_model" / "round-000001")
    save_file({name: value + 1 for name, value in module().state_dict().items()}, best / "model.safetensors")
    for _ in range(2):
        outcome = deliver(root / "r2d", uri, summary={"accuracy": 0.5, "best_round": 1})
        assert outcome.problem is None
    client = connect(uri)
    outputs = client.get_run(str(outcome.mlflow_run_id)).outputs.model_outputs
    logged = {client.get_logged_model(output.model_id).name: output.step for output in outputs}
    assert logged == {"model": NUM_ROUNDS - 1, "model-best": 1}
    assert len(outputs) == 2


def history(client: MlflowClient, mlflow_run_id: str) -> list[tuple[int, int, float]]:
    points = client.get_metric_history(mlflow_run_id, "eval/accuracy")
    return sorted((point.step, point.timestamp, point.value) for point in points)


def test_store_has_the_whole_run_and_its_model_predicts(root: Path, uri: str) -> None:
    make_run(root / "r1")
    outcome = deliver(root / "r1", uri)
    assert (outcome.num_logged, outcome.problem) == (NUM_ROUNDS, None)
    client, mlflow_run_id = connect(uri), str(outcome.mlflow_run_id)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    run = client.get_run(mlflow_run_id)
    assert history(client, mlflow_run_id) == [(r, 1_700_000_000_000 + r, 0.1 * r) for r in range(NUM_ROUNDS)]
    assert (run.info.status, run.info.start_time, run.info.end_time) == (
        "FINISHED",
        1_700_000_000_000,
        1_700_000_000_003,
    )
    assert (run.info.run_name, run.data.params) == ("a run", {"training.lr": "0.05"})
    assert run.data.tags["sparsefleet.run_id"] == "r1"
    assert {file.path for file in client.list_artifacts(mlflow_run_id)} == {
        "clients.parquet",
        "config.yaml",
        "curves.png",
        "events.parquet",
        "metrics.jsonl",
        "partition.parquet",
        "partition.png",
        "summary.json",
    }
    assert (root / "artifact root" / mlflow_run_id / "artifacts" / "config.yaml").read_text() == "seed: 0\n"

    served = load_from_mlflow(uri, f"runs:/{mlflow_run_id}/model")
    images = np.random.default_rng(0).random((5, 1, 2, 2), dtype=np.float32)
    with torch.no_grad():
        expected = module()((torch.from_numpy(images) - 0.5) / 0.25).numpy()
    np.testing.assert_array_equal(served.predict(images), expected)
    assert served.metadata.signature.inputs.inputs[0].shape == (-1, 1, 2, 2)


def test_second_delivery_adds_nothing(root: Path, uri: str) -> None:
    make_run(root / "r2")
    first = deliver(root / "r2", uri)
    assert first.problem is None
    client, mlflow_run_id = connect(uri), str(first.mlflow_run_id)
    points = history(client, mlflow_run_id)
    saved = json.loads((root / "r2" / "tracking.json").read_text())
    saved["num_delivered"] = 0
    (root / "r2" / "tracking.json").write_text(json.dumps(saved))
    assert deliver(root / "r2", uri) == first
    assert history(client, mlflow_run_id) == points
    assert len(client.get_run(mlflow_run_id).outputs.model_outputs) == 1
    saved["mlflow_run_id"] = None  # as if the process was killed after MLflow created the run
    (root / "r2" / "tracking.json").write_text(json.dumps(saved))
    assert deliver(root / "r2", uri) == first
    assert history(client, mlflow_run_id) == points
    assert len(client.get_run(mlflow_run_id).outputs.model_outputs) == 1


def test_changed_weights_are_logged_as_another_model(root: Path, uri: str) -> None:
    """An extended run has other weights at its end."""
    make_run(root / "r2b")
    mlflow_run_id = str(deliver(root / "r2b", uri).mlflow_run_id)
    file = root / "r2b" / "model" / "model.safetensors"
    save_file({name: value + 1 for name, value in module().state_dict().items()}, file)
    assert deliver(root / "r2b", uri).problem is None
    client = connect(uri)
    outputs = client.get_run(mlflow_run_id).outputs.model_outputs
    models = [client.get_logged_model(output.model_id) for output in outputs]
    assert [model.status for model in models] == ["READY", "READY"]
    assert models[0].tags["sparsefleet.model_sha256"] != models[1].tags["sparsefleet.model_sha256"]


def test_unfinished_model_of_a_killed_process_is_completed(root: Path, uri: str) -> None:
    make_run(root / "r2c")
    client, mlflow_run_id = connect(uri), str(deliver(root / "r2c", uri).mlflow_run_id)
    (output,) = client.get_run(mlflow_run_id).outputs.model_outputs
    experiment_id = client.get_run(mlflow_run_id).info.experiment_id
    unfinished = client.create_logged_model(experiment_id, name="model", source_run_id=mlflow_run_id)
    file = root / "r2c" / "model" / "model.safetensors"
    save_file({name: value + 1 for name, value in module().state_dict().items()}, file)
    assert deliver(root / "r2c", uri).problem is None
    outputs = client.get_run(mlflow_run_id).outputs.model_outputs
    assert {found.model_id for found in outputs} == {output.model_id, unfinished.model_id}
    assert client.get_logged_model(unfinished.model_id).status == "READY"


def test_empty_run_has_only_its_summary(root: Path, uri: str) -> None:
    (root / "r3").mkdir()
    outcome = deliver(root / "r3", uri)
    assert (outcome.num_logged, outcome.problem) == (0, None)
    files = connect(uri).list_artifacts(str(outcome.mlflow_run_id))
    assert [file.path for file in files] == ["summary.json"]


def test_deleted_experiment_is_reported(root: Path, uri: str) -> None:
    (root / "r4").mkdir()
    client = connect(uri)
    client.delete_experiment(client.create_experiment("gone"))
    outcome = deliver(root / "r4", uri, experiment="gone")
    assert "tracking.experiment=gone: " in str(outcome.problem)
    assert outcome.mlflow_run_id is None


def test_close_without_start() -> None:
    assert MlflowSink().close() == TrackingOutcome(None, 0, None)
