"""What the user's own MLflow code has set in this process."""

from pathlib import Path

import mlflow
import pytest

from orchestrator.errors import ConfigError
from orchestrator.tracking.mlflow.active import (
    ActiveMlflow,
    active_mlflow,
    experiment_of_run,
    name_of_experiment,
)
from orchestrator.tracking.mlflow.client import connect


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an MLflow store with the experiment `first`."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri).create_experiment("first")
    return uri


def test_nothing_is_active_at_first_and_after_a_run() -> None:
    assert active_mlflow() == ActiveMlflow(None, None)


def test_uri_and_run_of_this_process_are_found(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(store)
    assert active_mlflow() == ActiveMlflow(store, None)
    with mlflow.start_run() as run:
        assert active_mlflow() == ActiveMlflow(store, run.info.run_id)
    assert active_mlflow() == ActiveMlflow(store, None)


def test_experiments_are_found_by_id_and_by_run(store: str) -> None:
    client = connect(store)
    experiment_id = client.get_experiment_by_name("first").experiment_id
    assert name_of_experiment(store, experiment_id) == "first"
    assert experiment_of_run(store, client.create_run(experiment_id).info.run_id) == "first"
    with pytest.raises(ConfigError) as raised:
        name_of_experiment(store, "77")
    assert (raised.value.field, raised.value.value) == ("MLFLOW_EXPERIMENT_ID", "77")
    with pytest.raises(ConfigError) as raised:
        experiment_of_run(store, "7" * 32)
    assert (raised.value.field, raised.value.value) == ("MLFLOW_RUN_ID", "7" * 32)
