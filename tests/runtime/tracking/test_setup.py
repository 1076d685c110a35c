"""Where runs and sweeps are tracked, as their configs record it."""

import os
from pathlib import Path

import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.errors import ConfigError, TrackingError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.tracking.setup import (
    check_storage_and_tracking,
    destination_note,
    experiment_name,
    parent_tags,
    resolve_tracking,
    tracking_uri,
    tracking_values,
)
from orchestrator.tracking.destination import Destination


def _config(*overrides: str) -> ExperimentConfig:
    return ExperimentConfig.parse(apply_overrides({}, overrides))


class TestResolveTracking:
    """`resolve_tracking` and `tracking_values`."""

    def test_config_records_store_and_experiment(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        uri = f"sqlite:///{tmp_path}/m.db"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "e")
        config, destination = resolve_tracking(_config())
        assert tracking_values(config) == {"tracking.uri": uri, "tracking.experiment": "e"}
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://another")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
        assert resolve_tracking(config, is_recorded=True)[0] == config
        assert destination == Destination(uri=uri, experiment="e", from_environment=True)

    def test_recorded_default_stays_in_the_storage_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config, _ = resolve_tracking(_config())
        assert tracking_values(config) == {"tracking.experiment": "sparsefleet"}
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://another")
        assert resolve_tracking(config, is_recorded=True)[0] == config

    def test_config_has_no_password(self) -> None:
        for overrides in (
            ["tracking.uri=http://ann:secret@host"],
            ["tracking.uri=http://ann:secret@host"] * 2,
        ):
            config, _ = resolve_tracking(_config(*overrides))
            assert "secret" not in str(config.to_dict())
            assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"

    def test_run_without_tracking_reads_no_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/mlruns")
        config = _config("tracking.enabled=false")
        assert resolve_tracking(config) == (config, None)
        config = _config("tracking.enabled=false", "tracking.uri=http://ann:secret@host")
        assert tracking_values(resolve_tracking(config)[0]) == {"tracking.uri": "http://host"}


class TestTrackingUri:
    """`tracking_uri` and `experiment_name`."""

    def test_uri_is_configured_or_in_the_storage_folder(self, tmp_path: Path) -> None:
        assert tracking_uri(_config(f"runtime.storage={tmp_path}")) == f"sqlite:///{tmp_path}/mlflow.db"
        assert tracking_uri(_config("tracking.uri=http://host:5000")) == "http://host:5000"
        assert tracking_uri(_config("tracking.uri=sqlite:///some.db")) == f"sqlite:///{Path.cwd()}/some.db"

    def test_special_characters_of_the_storage_are_quoted(self, tmp_path: Path) -> None:
        config = _config(f"runtime.storage='{tmp_path}/a%20b?'")
        assert tracking_uri(config) == f"sqlite:///{tmp_path}/a%2520b%3F/mlflow.db"

    def test_experiment_has_a_default(self) -> None:
        assert experiment_name(_config()) == "sparsefleet"
        assert experiment_name(_config("tracking.experiment=e")) == "e"


class TestCheckStorageAndTracking:
    """`check_storage_and_tracking`."""

    def test_new_storage_is_created_and_stays_empty(self, tmp_path: Path) -> None:
        check_storage_and_tracking(_config(f"runtime.storage={tmp_path}/deep/runs"))
        assert list((tmp_path / "deep" / "runs").iterdir()) == []

    def test_storage_below_a_file_is_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ConfigError) as raised:
            check_storage_and_tracking(_config(f"runtime.storage={tmp_path}/file/runs"))
        assert raised.value.field == "runtime.storage"

    def test_damaged_database_is_rejected_unless_tracking_is_off(self, tmp_path: Path) -> None:
        (tmp_path / "mlflow.db").write_text("no database")
        with pytest.raises(TrackingError):
            check_storage_and_tracking(_config(f"runtime.storage={tmp_path}"))
        check_storage_and_tracking(_config(f"runtime.storage={tmp_path}", "tracking.enabled=false"))


def test_note_names_the_place_and_its_source(tmp_path: Path) -> None:
    local = _config(f"runtime.storage='{tmp_path}/a b'")
    where = Destination(uri=None, experiment="sparsefleet")
    assert f"{tmp_path}/a b/mlflow.db" in destination_note(local, where)
    remote = _config("tracking.uri=http://host", "tracking.experiment=e")
    where = Destination(uri="http://host", experiment="e", parent_run_id="abc", from_environment=True)
    assert all(
        word in destination_note(remote, where)
        for word in ("http://host", "MLFLOW_TRACKING_URI", "'e'", "abc")
    )
    assert destination_note(remote, None) == "MLflow is off"
    assert parent_tags(where) == {"mlflow.parentRunId": "abc"}
    assert parent_tags(None) == {}
