"""What MLflow would reject is found before a run starts, and each remedy works."""

import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy.engine import create_engine

from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.experiment import check_experiment, check_schema, find_or_create_experiment
from orchestrator.tracking.uris import client_uri, sqlite_uri


@pytest.fixture(scope="module")
def _database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "m.db"
    connect(sqlite_uri(path))
    return path


@pytest.fixture
def database(_database: Path, tmp_path: Path) -> Path:
    """A copy of a new MLflow database, in a folder whose name has special characters."""
    folder = tmp_path / "my store?%20"
    folder.mkdir()
    return Path(shutil.copy(_database, folder / "m.db"))


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that is no MLflow server; /<code>/... answers with this status code."""

    class Codes(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Codes) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def _of_version(path: Path, revision: str) -> None:
    """Make a database with the tables that MLflow had at an earlier revision."""
    engine = create_engine(client_uri(sqlite_uri(path)))
    Base.metadata.create_all(engine)
    config = _get_alembic_config("")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


class TestCheckExperiment:
    """`check_experiment`."""

    def test_new_store_and_new_name_are_accepted_and_nothing_is_created(
        self, database: Path, tmp_path: Path
    ) -> None:
        check_experiment(sqlite_uri(tmp_path / "none.db"), "e")
        assert not (tmp_path / "none.db").exists()
        check_experiment(sqlite_uri(database), "x" * 500)
        assert connect(sqlite_uri(database)).get_experiment_by_name("x" * 500) is None
        assert list(tmp_path.iterdir()) == [database.parent]

    @pytest.mark.parametrize("length", [501, 5000])
    def test_name_that_is_too_long_is_rejected(self, tmp_path: Path, length: int) -> None:
        with pytest.raises(ConfigError) as raised:
            check_experiment(sqlite_uri(tmp_path / "none.db"), "x" * length)
        assert raised.value.field == "tracking.experiment"
        assert str(length) in raised.value.problem

    def test_deleted_experiment_is_rejected_until_it_is_restored(self, database: Path) -> None:
        client = connect(sqlite_uri(database))
        experiment_id = client.create_experiment("gone")
        client.delete_experiment(experiment_id)
        with pytest.raises(ConfigError) as raised:
            check_experiment(sqlite_uri(database), "gone")
        assert (raised.value.field, raised.value.value) == ("tracking.experiment", "gone")
        assert f"-x {experiment_id}`" in raised.value.remedy
        client.restore_experiment(experiment_id)
        check_experiment(sqlite_uri(database), "gone")

    @pytest.mark.parametrize("place", ["file", "file/deep/folder"])
    def test_artifact_folder_that_cannot_be_written_is_rejected(
        self, database: Path, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "file").touch()
        connect(sqlite_uri(database)).create_experiment("e", artifact_location=(tmp_path / place).as_uri())
        with pytest.raises(TrackingError, match=r"^tracking\.experiment=e: "):
            check_experiment(sqlite_uri(database), "e")

    def test_artifact_folder_that_does_not_exist_yet_is_accepted(
        self, database: Path, tmp_path: Path
    ) -> None:
        location = (tmp_path / "a b%20?" / "new").as_uri()
        connect(sqlite_uri(database)).create_experiment("e", artifact_location=location)
        check_experiment(sqlite_uri(database), "e")
        assert not (tmp_path / "a b%20?").exists()

    @pytest.mark.parametrize(
        ("code", "word"), [(401, "MLFLOW_TRACKING_PASSWORD"), (403, "MLFLOW_TRACKING_PASSWORD")]
    )
    def test_rejected_credentials_are_reported(self, server: str, code: int, word: str) -> None:
        with pytest.raises(TrackingError, match=r"^tracking\.uri=http://127\.0\.0\.1:\d+/40\d: ") as raised:
            check_experiment(f"{server.replace('//', '//ann:secret@')}/{code}", "e")
        assert word in str(raised.value)
        assert "secret" not in str(raised.value)

    def test_server_that_is_not_mlflow_is_reported(self, server: str) -> None:
        with pytest.raises(TrackingError, match="MLflow server"):
            check_experiment(f"{server}/404", "e")

    def test_server_that_fails_is_left_to_later_attempts(self, server: str) -> None:
        check_experiment(f"{server}/503", "e")
        check_experiment("http://127.0.0.1:1", "e")


class TestCheckSchema:
    """`check_schema`."""

    def test_present_version_and_empty_file_are_accepted(self, database: Path, tmp_path: Path) -> None:
        check_schema(database)
        (tmp_path / "empty.db").touch()
        check_schema(tmp_path / "empty.db")

    def test_older_database_is_rejected_until_it_is_upgraded(self, tmp_path: Path) -> None:
        folder = tmp_path / "old?%20"
        folder.mkdir()
        scripts = ScriptDirectory.from_config(_get_alembic_config(""))
        head = scripts.get_revision(scripts.get_current_head() or "")
        assert head is not None
        _of_version(folder / "m.db", str(head.down_revision))
        before = (folder / "m.db").read_bytes()
        with pytest.raises(TrackingError, match=r"^tracking\.uri=sqlite:") as raised:
            check_experiment(sqlite_uri(folder / "m.db"), "e")
        assert (folder / "m.db").read_bytes() == before, "MLflow has not migrated the database"
        _, *words = shlex.split(str(raised.value).split("`")[1])
        assert words[:2] == ["db", "upgrade"]
        subprocess.run(
            [sys.executable, "-m", "mlflow", *words], check=True, capture_output=True, cwd=tmp_path
        )
        check_experiment(sqlite_uri(folder / "m.db"), "e")
        assert list(tmp_path.iterdir()) == [folder]

    def test_newer_database_is_rejected(self, database: Path) -> None:
        _execute(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
        with pytest.raises(TrackingError, match="newer version"):
            check_schema(database)


class TestFindOrCreateExperiment:
    """`find_or_create_experiment`."""

    def test_new_experiment_has_a_private_artifact_folder_next_to_the_database(self, database: Path) -> None:
        uri = sqlite_uri(database)
        client = connect(uri)
        experiment_id = find_or_create_experiment(client, uri, "e", None)
        folder = database.parent / "mlartifacts"
        assert client.get_experiment(experiment_id).artifact_location == folder.as_uri()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert find_or_create_experiment(client, uri, "e", None) == experiment_id

    def test_deleted_experiment_is_rejected(self, database: Path) -> None:
        client = connect(sqlite_uri(database))
        client.delete_experiment(client.create_experiment("gone"))
        with pytest.raises(ConfigError) as raised:
            find_or_create_experiment(client, sqlite_uri(database), "gone", None)
        assert (raised.value.field, raised.value.value) == ("tracking.experiment", "gone")
