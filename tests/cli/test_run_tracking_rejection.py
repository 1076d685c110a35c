"""What MLflow would reject at the end of a run is an error of `run` and `resume` before the first round."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from alembic.script import ScriptDirectory

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.uris import sqlite_uri
from tests.support.command import QUICK, Command

TRACKED = (*QUICK, "tracking.enabled=true", "training.rounds=1")


@pytest.fixture(scope="module")
def _tracked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("tracked")
    config = load_config(None, [*TRACKED, f"runtime.storage={storage}"])
    return storage / session.run(config, Progress(quiet=True)).run_id


@pytest.fixture
def tracked(_tracked: Path, storage: Path) -> Path:
    """The folder of a run, in this test's own copy of a storage folder with its database."""
    return Path(shutil.copytree(_tracked.parent, storage)) / _tracked.name


def _set_version(database: Path, revision: str) -> None:
    connection = sqlite3.connect(database)
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()


def _make_older(database: Path) -> None:
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    head = scripts.get_revision(scripts.get_heads()[0])
    _set_version(database, str(head.down_revision))


def _make_newer(database: Path) -> None:
    _set_version(database, "f" * 12)


def _damage(database: Path) -> None:
    database.write_text("no database")


def _delete_experiment(database: Path) -> None:
    client = connect(sqlite_uri(database))
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)


def _block_artifacts(database: Path) -> None:
    """Let the experiment's artifacts belong below a file, where no user can write."""
    connection = sqlite3.connect(database)
    (database.parent / "file").touch()
    location = (database.parent / "file" / "artifacts").as_uri()
    connection.execute("UPDATE experiments SET artifact_location = ? WHERE name = 'sparsefleet'", (location,))
    connection.commit()
    connection.close()


@dataclass(frozen=True)
class Case:
    """What happens to the database, the exit code, the start of the error line, and a part of the remedy."""

    change: Callable[[Path], None]
    code: int
    start: str
    remedy: str


CASES = {
    "older version": Case(_make_older, 1, "tracking.uri=sqlite:///", "mlflow db upgrade"),
    "newer version": Case(_make_newer, 1, "tracking.uri=sqlite:///", "tracking.uri"),
    "damaged file": Case(_damage, 1, "tracking.uri=sqlite:///", "tracking.uri"),
    "deleted experiment": Case(
        _delete_experiment, 2, "tracking.experiment=sparsefleet: ", "mlflow experiments restore"
    ),
    "artifacts below a file": Case(
        _block_artifacts, 1, "tracking.experiment=sparsefleet: ", "tracking.experiment"
    ),
}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_run_and_resume_reject_what_mlflow_would_reject(command: Command, tracked: Path, case: Case) -> None:
    storage = tracked.parent
    case.change(storage / "mlflow.db")
    before = _files(storage)
    for arguments in (
        ("run", *TRACKED, f"runtime.storage={storage}"),
        ("resume", tracked, "training.rounds=2"),
    ):
        result = command(*arguments)
        *_, line = result.err.splitlines()
        assert (result.code, result.out) == (case.code, ""), line
        assert line.startswith(f"error: {case.start}")
        assert case.remedy in line.split("; ", 1)[1]
        assert _files(storage) == before


@pytest.mark.parametrize("arguments", [("run", *TRACKED), ("resume", "training.rounds=2")])
def test_name_that_is_too_long_is_rejected(
    command: Command, tracked: Path, arguments: tuple[str, ...]
) -> None:
    name, *overrides = arguments
    run = [tracked] if name == "resume" else [f"runtime.storage={tracked.parent}"]
    before = _files(tracked.parent)
    result = command(name, *run, *overrides, f"tracking.experiment={'x' * 501}")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: tracking.experiment=")
    assert _files(tracked.parent) == before


def test_run_starts_with_another_database(command: Command, storage: Path) -> None:
    storage.mkdir()
    _damage(storage / "mlflow.db")
    uri = f"tracking.uri=sqlite:///{storage}/new.db"
    assert command("run", *TRACKED, f"runtime.storage={storage}", uri).code == 0


def test_variable_with_an_unsupported_store_is_rejected(
    command: Command, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/mlruns")
    result = command("run", *TRACKED, f"runtime.storage={storage}")
    assert result.code == 2
    assert result.error_line.startswith("error: MLFLOW_TRACKING_URI=file:///tmp/mlruns: ")


@pytest.mark.parametrize("key", ["tracking.uri", "tracking.url", "model.name"])
def test_no_error_shows_a_password(command: Command, storage: Path, key: str) -> None:
    address = "http://ann:s3cr3t@127.0.0.1:1"
    result = command("run", "--verbose", *TRACKED, f"runtime.storage={storage}", f"{key}={address}")
    assert result.code in (1, 2)
    assert "s3cr3t" not in result.out + result.err
    assert "s3cr3t" not in json.dumps([path.name for path in storage.glob("**/*")])
