"""The use of the machine as metrics of an MLflow run."""

import time
from pathlib import Path

import pytest

from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.system_metrics import SystemMetrics


@pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy:DeprecationWarning:mlflow.store.tracking")
def test_samples_are_logged_until_the_monitor_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    uri = f"sqlite:///{tmp_path}/m.db"
    client = connect(uri)
    run_id = client.create_run(client.create_experiment("e")).info.run_id
    metrics = SystemMetrics(uri, run_id)
    name, deadline_s = "system/cpu_utilization_percentage", time.monotonic() + 60.0
    while name not in client.get_run(run_id).data.metrics:
        assert time.monotonic() < deadline_s
    metrics.stop()
    num_points = len(client.get_metric_history(run_id, name))
    assert num_points >= 1
    assert {point.step for point in client.get_metric_history(run_id, name)} == set(range(num_points))
