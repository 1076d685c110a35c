"""Whether MLflow holds what a run has measured: each metric once for each round that it was measured in."""

import json
from collections import Counter
from pathlib import Path

from mlflow import MlflowClient

from orchestrator.tracking.record import read_records


def metric_findings(folder: Path, uri: str, num_rounds: int) -> list[str]:
    """Rounds that the run's own log lacks, and steps that MLflow lacks or has twice, of each metric."""
    records = read_records(folder / "metrics.jsonl")
    if [record.round_idx for record in records] != list(range(num_rounds)):
        return [f"metrics.jsonl has rounds {[record.round_idx for record in records]}"]
    client = MlflowClient(uri)
    run_id = json.loads((folder / "tracking.json").read_text())["mlflow_run_id"]
    found = []
    for name in sorted({name for record in records for name in record.metrics}):
        points = Counter((point.step, point.value) for point in client.get_metric_history(run_id, name))
        expected = Counter((r.round_idx, r.metrics[name]) for r in records if name in r.metrics)
        if points != expected:
            others = sorted((points - expected) + (expected - points))
            found.append(f"{name} is otherwise in MLflow: {others[:5]}")
    return found
