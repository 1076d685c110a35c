"""Where `run` and `resume` track a run."""

from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Run

from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.uris import sqlite_uri
from tests.support.command import QUICK, Command

TRACKED = (*QUICK, "tracking.enabled=true", "training.rounds=1")


def _runs(uri: str, experiment: str = "sparsefleet") -> list[Run]:
    client = connect(uri)
    found = client.get_experiment_by_name(experiment)
    return [] if found is None else list(client.search_runs([found.experiment_id]))


def _run_folders(storage: Path) -> list[Path]:
    return [path.parent for path in storage.glob("*/run.json")]


def test_run_and_its_resumption_go_to_the_store_of_the_variables(
    command: Command, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = sqlite_uri(tmp_path / "store" / "m.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the shell")
    result = command("run", *TRACKED, f"runtime.storage={storage}")
    assert result.code == 0
    second_line = result.err.splitlines()[1]
    assert all(word in second_line for word in ("store/m.db", "MLFLOW_TRACKING_URI", "of the shell"))
    (folder,) = _run_folders(storage)
    assert list(storage.iterdir()) == [folder]
    recorded = yaml.safe_load((folder / "config.yaml").read_text())["tracking"]
    assert (recorded["uri"], recorded["experiment"]) == (uri, "of the shell")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    assert command("resume", folder, "training.rounds=2").code == 0
    (run,) = _runs(uri, "of the shell")
    steps = [point.step for point in connect(uri).get_metric_history(run.info.run_id, "eval/accuracy")]
    assert sorted(steps) == [0, 1]


def test_run_in_the_storage_stays_there_when_a_variable_is_set_later(
    command: Command, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("run", *TRACKED, f"runtime.storage={storage}").code == 0
    (folder,) = _run_folders(storage)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert command("resume", folder, "training.rounds=2").code == 0
    (run,) = _runs(sqlite_uri(storage / "mlflow.db"))
    assert run.info.status == "FINISHED"


def test_run_is_nested_in_the_active_run_which_stays_active(
    command: Command, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(
        tmp_path
    )  # the artifacts of an experiment that MLflow itself creates go to the working folder
    uri = sqlite_uri(tmp_path / "m.db")
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("mine")
    with mlflow.start_run() as parent:
        assert command("run", *TRACKED, f"runtime.storage={storage}").code == 0
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == parent.info.run_id
        mlflow.log_param("of", "the user")
    runs = {run.info.run_id: run for run in _runs(uri, "mine")}
    parent_run = runs.pop(parent.info.run_id)
    assert (parent_run.data.params, parent_run.data.metrics) == ({"of": "the user"}, {})
    (child,) = runs.values()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.metrics["eval/accuracy"] > 0


@pytest.mark.parametrize("name", ["a%20b", "a b?c#d", "ä日$x;y&z=%2F"])
def test_storage_with_special_characters_has_everything_and_no_other_folder_is_made(
    command: Command, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, storage = tmp_path / "work", tmp_path / "data" / name
    work.mkdir()
    storage.parent.mkdir()
    monkeypatch.chdir(work)
    result = command("run", *TRACKED, f"runtime.storage='{storage}'")
    assert result.code == 0
    assert list(work.iterdir()) == []
    assert list(storage.parent.iterdir()) == [storage]
    (folder,) = _run_folders(storage)
    assert {path.name for path in storage.iterdir()} == {folder.name, "mlflow.db", "mlartifacts"}
    (run,) = _runs(sqlite_uri(storage / "mlflow.db"))
    assert run.info.status == "FINISHED"
    artifacts = {path.name for path in (storage / "mlartifacts").rglob("*") if path.is_file()}
    assert artifacts >= {"config.yaml", "metrics.jsonl", "model.safetensors", "summary.json"}


def test_names_that_mlflow_does_not_accept_are_delivered_in_a_similar_form(
    command: Command, storage: Path, tmp_path: Path
) -> None:
    profile = "Pixel 6 (2021), blue"
    (tmp_path / "fleet.yaml").write_text(
        f"profiles:\n  - {{name: '{profile}', num_cpus: 0.1, flops_per_s: 1e9, uplink_bytes_per_s: 1e6, "
        "downlink_bytes_per_s: 1e6}\n"
    )
    options = ("algorithm.name=fedspa", f"fleet.name={tmp_path}/fleet.yaml")
    levels = f"sparsity.device_levels={{'{profile}': 0.5}}"
    assert command("run", *TRACKED, f"runtime.storage={storage}", *options, levels).code == 0
    (run,) = _runs(sqlite_uri(storage / "mlflow.db"))
    named = {name: value for name, value in run.data.params.items() if "Pixel" in name}
    assert list(named.values()) == ["0.5"]
    assert run.info.status == "FINISHED"
