"""A run on Ray in MLflow after its end, and `sparsefleet doctor`."""

import os
from pathlib import Path

import numpy as np
import pytest

from orchestrator.cli import main as cli
from orchestrator.display.run_progress import Progress
from orchestrator.errors import RequestError
from orchestrator.experiment.prepare import prepare
from orchestrator.runtime import session
from orchestrator.runtime.tracking.setup import tracking_uri
from orchestrator.tracking.presentation.metric_names import mlflow_metric
from orchestrator.tracking.record import METRICS, read_records
from tests.support.endings import assert_finished, mlflow_status, mlflow_steps
from tests.support.ray_runs import MakeConfig

ONE_CORE = """
profiles:
  - {name: core, num_cpus: 1, flops_per_s: 1e9, uplink_bytes_per_s: 1e6, downlink_bytes_per_s: 1e6}
"""
pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def test_mlflow_has_every_metric_once_and_a_model_that_predicts(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    import mlflow
    from mlflow.tracking import MlflowClient

    config = make_config("tracking.enabled=true", "runtime.actors=pooled", "runtime.pool_size=1")
    summary = session.run(config, Progress(quiet=True))

    uri = tracking_uri(config)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    records = read_records(tmp_path / summary.run_id / "metrics.jsonl")
    assert len(records) == 6
    for name in {name for record in records for name in record.metrics}:
        assert name in METRICS
        history = client.get_metric_history(run.info.run_id, mlflow_metric(name))
        logged = sorted((point.step, point.value) for point in history)
        values = [(r.round_idx, r.metrics[name]) for r in records if name in r.metrics]
        assert logged == values or (logged == [] and not any(value for _, value in values))
    assert run.info.status == "FINISHED"
    assert run.data.params["algorithm.readjust_every"] == "2"
    assert run.data.tags["sparsefleet.run_id"] == summary.run_id
    artifacts = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"config.yaml", "partition.png", "curves.png", "clients.parquet", "events.parquet"} <= artifacts

    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/{config.algorithm.name}")
    dataset = prepare(config).dataset
    logits = model.predict(dataset.test_inputs.astype(np.float32))
    accuracy = float((np.asarray(logits).argmax(axis=1) == dataset.test_labels).mean())
    assert accuracy == pytest.approx(summary.accuracy, abs=0.01)

    assert_finished(tmp_path / summary.run_id, 6)
    session.resume(tmp_path / summary.run_id, ["training.rounds=7"], Progress(quiet=True))
    assert_finished(tmp_path / summary.run_id, 7)
    assert (mlflow_status(uri), mlflow_steps(uri)[-1]) == ("FINISHED", 6)


@pytest.mark.usefixtures("own_ray_folder")
def test_doctor_accepts_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command_line(["doctor", "--storage", str(tmp_path)]) == 0
    assert "Ray starts" in capsys.readouterr().out


def test_actor_mode_that_does_not_fit_is_rejected_and_leaves_no_folder(
    make_config: MakeConfig, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    num_clients = 2 * (os.cpu_count() or 1)
    fleet = tmp_path_factory.mktemp("fleet") / "cores.yaml"
    fleet.write_text(ONE_CORE)
    config = make_config(
        *("runtime.actors=dedicated", "data.partition.kind=iid", "training.rounds=1"),
        *(f"fleet.name={fleet}", f"fleet.num_clients={num_clients}", "training.clients_per_round=1"),
    )
    with pytest.raises(RequestError) as caught:
        session.run(config, Progress(quiet=True))
    assert (caught.value.field, caught.value.value) == ("runtime.actors", "dedicated")
    assert not list(tmp_path.iterdir())
