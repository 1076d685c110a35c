"""Where a run is tracked: the config key wins over MLflow's own settings, which win over the storage folder."""

import os
from pathlib import Path

import mlflow
import pytest

from orchestrator.errors import ConfigError
from orchestrator.tracking.destination import Destination, find_destination, recorded_destination
from orchestrator.tracking.mlflow.client import connect


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URI of an MLflow store with the experiments `first` and `second`."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    client = connect(uri)
    for name in ("first", "second"):
        client.create_experiment(name)
    return uri


def _id(store: str, name: str) -> str:
    return str(connect(store).get_experiment_by_name(name).experiment_id)


def test_without_settings_the_storage_folder_is_used() -> None:
    assert find_destination(None, None) == Destination(uri=None, experiment="sparsefleet")


def test_variables_are_used(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert find_destination(None, None) == Destination(
        uri=store, experiment="sparsefleet", from_environment=True
    )
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the shell")
    assert find_destination(None, None).experiment == "of the shell"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", _id(store, "second"))
    assert find_destination(None, None).experiment == "second"


def test_experiment_name_is_used_without_a_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the shell")
    assert find_destination(None, None) == Destination(uri=None, experiment="of the shell")
    assert find_destination("http://host", None) == Destination(uri="http://host", experiment="of the shell")


def test_keys_take_precedence(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the shell")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", _id(store, "second"))
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    assert find_destination("http://host", "mine") == Destination(uri="http://host", experiment="mine")
    # the id belongs to the other store
    assert find_destination("http://host", None) == Destination(uri="http://host", experiment="of the shell")
    assert find_destination(None, "mine").experiment == "mine"


def test_what_the_program_has_set_takes_precedence_over_variables(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of.the.shell")
    mlflow.set_tracking_uri(store)
    mlflow.set_experiment("first")
    assert find_destination(None, None) == Destination(uri=store, experiment="first", from_environment=True)


def test_run_is_nested_in_the_active_run_and_in_its_experiment(store: str) -> None:
    mlflow.set_tracking_uri(store)
    with mlflow.start_run(experiment_id=_id(store, "second")) as active:
        expected = Destination(
            uri=store, experiment="second", parent_run_id=active.info.run_id, from_environment=True
        )
        assert find_destination(None, None) == expected
        with mlflow.start_run(experiment_id=_id(store, "second"), nested=True) as inner:
            assert find_destination(None, None).parent_run_id == inner.info.run_id
        same_store = find_destination(store, "mine")
        assert same_store == Destination(uri=store, experiment="mine", parent_run_id=active.info.run_id)
        assert find_destination("http://host", None).parent_run_id is None
    assert find_destination(None, None).parent_run_id is None


def test_run_of_an_mlflow_project_is_the_parent(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = connect(store).create_run(_id(store, "first")).info.run_id
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    expected = Destination(uri=store, experiment="first", parent_run_id=run_id, from_environment=True)
    assert find_destination(None, None) == expected


@pytest.mark.parametrize(("variable", "value"), [("MLFLOW_EXPERIMENT_ID", "77"), ("MLFLOW_RUN_ID", "7" * 32)])
def test_unknown_id_is_rejected(
    store: str, variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        find_destination(None, None)
    assert (raised.value.field, raised.value.value) == (variable, value)


@pytest.mark.parametrize("uri", ["file:///tmp/mlruns", "databricks", "postgresql://ann:secret@host/db"])
def test_variable_with_another_kind_of_store_is_rejected_by_its_name(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError) as raised:
        find_destination(None, None)
    assert raised.value.field == "MLFLOW_TRACKING_URI"
    assert "secret" not in str(raised.value)
    assert find_destination("http://host", None).uri == "http://host"


def test_passwords_move_to_the_variables_of_mlflow() -> None:
    assert find_destination("http://ann:secret@host", None).uri == "http://host"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"
    assert recorded_destination("http://bob:other@host", "e") == Destination(
        uri="http://host", experiment="e"
    )
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == (
        "bob",
        "other",
    )


def test_relative_path_is_recorded_as_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_destination("sqlite:///m.db", None).uri == f"sqlite:///{tmp_path}/m.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///n.db")
    assert find_destination(None, None).uri == f"sqlite:///{tmp_path}/n.db"


@pytest.mark.parametrize("variable", ["MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"])
def test_id_without_a_uri_belongs_to_the_default_store_of_mlflow(
    tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(uri)
    experiment_id = client.create_experiment("e")
    run_id = client.create_run(experiment_id).info.run_id
    monkeypatch.setenv(variable, experiment_id if variable == "MLFLOW_EXPERIMENT_ID" else run_id)
    found = find_destination(None, None)
    assert (found.uri, found.experiment) == (uri, "e")


def test_resumed_run_does_not_read_the_variables(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the shell")
    assert recorded_destination(None, "e") == Destination(uri=None, experiment="e")
