"""Check that MLflow has each metric of a run exactly once for each round in which it was measured."""

import json
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.tracking.presentation.metric_names import mlflow_metric
from orchestrator.tracking.record import read_records


def metric_findings(folder: Path, uri: str, num_rounds: int) -> list[str]:
    """Return one line if metrics.jsonl has missing rounds, and one for each metric that differs in MLflow."""
    records = read_records(folder / "metrics.jsonl")
    if [record.round_idx for record in records] != list(range(num_rounds)):
        return [f"metrics.jsonl has rounds {[record.round_idx for record in records]}"]
    client = MlflowClient(uri)
    run_id = json.loads((folder / "tracking.json").read_text())["mlflow_run_id"]
    found = []
    for name in sorted({name for record in records for name in record.metrics}):
        history = client.get_metric_history(run_id, mlflow_metric(name))
        points = Counter((point.step, point.value) for point in history)
        expected = Counter((r.round_idx, r.metrics[name]) for r in records if name in r.metrics)
        is_left_out = not points and not any(value for _, value in expected)
        if points != expected and not is_left_out:
            different = sorted((points - expected) + (expected - points))
            found.append(f"{name} differs in MLflow: {different[:5]}")
    return found
