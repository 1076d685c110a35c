"""Data sets as inputs of an MLflow run."""

import json
from pathlib import Path

import pytest

from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.datasets import log_datasets
from orchestrator.tracking.presentation.run_page import TrackedDataset

PARTS = [
    TrackedDataset(
        name=f"mine ({part})",
        digest=f"digest of {part}",
        context=context,
        source="/data/mine",
        is_local=True,
        shape=(7, 1, 8, 8),
        dtype="uint8",
    )
    for part, context in (("train", "training"), ("test", "testing"))
]


@pytest.mark.filterwarnings("ignore:The ..noload.. loader strategy:DeprecationWarning:mlflow.store.tracking")
def test_data_sets_are_logged_once(tmp_path: Path) -> None:
    client = connect(f"sqlite:///{tmp_path}/m.db")
    run_id = client.create_run(client.create_experiment("e")).info.run_id
    for _ in range(2):  # after a lost answer, the follower sends the data sets again
        log_datasets(client, run_id, PARTS)
    first, second = client.get_run(run_id).inputs.dataset_inputs
    assert {first.dataset.name, second.dataset.name} == {"mine (train)", "mine (test)"}
    (train,) = [each for each in (first, second) if each.dataset.name == "mine (train)"]
    assert [(tag.key, tag.value) for tag in train.tags] == [("mlflow.data.context", "training")]
    assert (train.dataset.digest, train.dataset.source_type) == ("digest of train", "local")
    assert json.loads(train.dataset.source) == {"uri": "/data/mine"}
    assert "uint8" in train.dataset.schema
    assert json.loads(train.dataset.profile)["num_samples"] == 7
