"""Logs the parts of a data set as inputs of an MLflow run."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.tracking.presentation.run_page import TrackedDataset

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput


def log_datasets(client: "MlflowClient", mlflow_run_id: str, datasets: Sequence[TrackedDataset]) -> None:
    """Log data sets as inputs of a run. MLflow ignores an input that the run has already."""
    if datasets:
        client.log_inputs(mlflow_run_id, datasets=[_input(dataset) for dataset in datasets])


def _input(dataset: TrackedDataset) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types import Schema, TensorSpec

    num_samples, *shape = dataset.shape
    inputs = Schema([TensorSpec(np.dtype(dataset.dtype), (-1, *shape))])
    labels = Schema([TensorSpec(np.dtype(np.int64), (-1,))])
    schema = {"mlflow_tensorspec": {"features": inputs.to_json(), "targets": labels.to_json()}}
    source = {"uri": dataset.source} if dataset.is_local else {"tags": {"mlflow.source.name": dataset.source}}
    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type="local" if dataset.is_local else "code",
        source=json.dumps(source),
        schema=json.dumps(schema),
        profile=json.dumps(
            {
                "num_samples": num_samples,
                "features_shape": list(dataset.shape),
                "targets_shape": [num_samples],
            }
        ),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", dataset.context)])
