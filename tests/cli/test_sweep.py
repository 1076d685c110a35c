"""`sweep` rejects an invalid request in one line, before it starts a trial."""

from pathlib import Path

import pytest

from orchestrator.tracking.mlflow.client import connect
from tests.support.command import Command

SAMPLED = '"""A sampled key."""\nfrom ray import tune\nSPACE = {"training.lr": tune.loguniform(0.01, 0.1)}\n'


@pytest.mark.parametrize(
    ("arguments", "field_and_value"),
    [
        (["smok"], "SPACE=smok"),
        (["nowhere.py"], "SPACE=nowhere.py"),
        (["smoke", "--objective", "loss"], "--objective=loss"),
        (["smoke", "--objective", "accuracy_at_upload=lots"], "--objective=accuracy_at_upload=lots"),
        (["smoke", "--search", "grit"], "--search=grit"),
        (["smoke", "--num-samples", "0"], "--num-samples=0"),
        (["smoke", "--num-samples", "3"], "--num-samples=3"),
        (["smoke", "--scheduler", "pbt"], "--scheduler=pbt"),
        (["smoke", "--scheduler", "asha", "--objective", "pareto"], "--scheduler=asha"),
        (["smoke", "--grace-rounds", "2"], "--grace-rounds=2"),
        (["smoke", "--search", "nsga2"], "--search=nsga2"),
        (["smoke", "training.lrr=1"], "training.lrr=1"),
        (["smoke", "training.lr=[0.1, -1]"], "training.lr=-1"),
        (["smoke", "runtime.executor=[ray, inprocess]"], "runtime.executor=(several values)"),
        (["feddst", "seed=[0, 1]", "--seeds", "2"], "--seeds=2"),
        (["smoke", "--resume"], "SWEEP=smoke"),
        (["smoke", "--resume", "training.lr=1"], "KEY=VALUE=training.lr=1"),
        (["smoke", "--resume", "-c", "config.yaml"], "--config=config.yaml"),
        (["smoke", "--resume", "--seeds", "2"], "--seeds=2"),
        (["smoke", "--resume", "--grace-rounds", "2"], "--grace-rounds=2"),
    ],
)
def test_sweep_rejects_an_invalid_request_and_writes_nothing(
    command: Command, storage: Path, arguments: list[str], field_and_value: str
) -> None:
    result = command("sweep", "--storage", storage, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field_and_value}: ")
    assert not storage.exists() or not list(storage.iterdir())


def test_sweep_rejects_an_unknown_key_in_a_space_file(
    command: Command, storage: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SAMPLED.replace("training.lr", "training.learning_rate"))
    result = command("sweep", file, "--storage", storage)
    assert result.code == 2
    assert result.error_line.startswith("error: training.learning_rate=")


def test_sweep_rejects_a_space_file_without_a_space(command: Command, storage: Path, tmp_path: Path) -> None:
    file = tmp_path / "empty.py"
    file.write_text('"""Nothing."""\n')
    result = command("sweep", file, "--storage", storage)
    assert result.code == 2
    assert result.error_line.startswith(f"error: SPACE={file}: ")


@pytest.mark.parametrize(
    ("arguments", "used"),
    [
        ("-c a.yaml", "from-a"),
        ("-c a.yaml -c b.yaml", "from-b"),
        ("-c b.yaml -c a.yaml", "from-a"),
        ("-c a.yaml -c seed.yaml", "from-a"),
        ("-c a.yaml --storage from-option", "from-option"),
    ],
)
def test_storage_comes_from_the_last_config_file_or_from_the_option(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, used: str
) -> None:
    """All paths are files, so no folder can be made and no trial starts."""
    monkeypatch.chdir(tmp_path)
    for name in ("from-a", "from-b", "from-option"):
        (tmp_path / name).touch()
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(f"runtime: {{storage: from-{name}}}\n")
    (tmp_path / "seed.yaml").write_text("seed: 3\n")
    result = command("sweep", "smoke", *arguments.split())
    assert result.code == 2
    assert result.error_line.startswith(f"error: runtime.storage={used}: ")


class TestRejectionByMlflow:
    """Errors that MLflow would report during the trials end the sweep before it makes a folder."""

    def test_name_that_is_too_long(self, command: Command, storage: Path) -> None:
        result = command("sweep", "smoke", "--storage", storage, f"tracking.experiment={'x' * 501}")
        assert (result.code, result.out) == (2, "")
        assert result.error_line.startswith("error: tracking.experiment=")
        assert not list(storage.glob("*/sweep.json"))

    def test_damaged_database(self, command: Command, storage: Path) -> None:
        storage.mkdir()
        (storage / "mlflow.db").write_text("no database")
        result = command("sweep", "smoke", "--storage", storage)
        assert (result.code, result.out) == (1, "")
        assert result.error_line.startswith(f"error: tracking.uri=sqlite:///{storage}/mlflow.db: ")
        assert [path.name for path in storage.iterdir()] == ["mlflow.db"]

    def test_deleted_experiment(self, command: Command, storage: Path) -> None:
        storage.mkdir()
        client = connect(f"sqlite:///{storage}/mlflow.db")
        client.delete_experiment(client.create_experiment("gone"))
        result = command("sweep", "smoke", "--storage", storage, "tracking.experiment=gone")
        assert (result.code, result.out) == (2, "")
        assert result.error_line.startswith("error: tracking.experiment=gone: ")
        assert not list(storage.glob("*/sweep.json"))
