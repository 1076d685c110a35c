"""Checks of a database file before a run starts."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import TrackingError
from orchestrator.tracking.presentation.pages import VIEW_TAG, runs_page
from orchestrator.tracking.sqlite_file import check_database, page_of_newest_run, schema_versions


@contextmanager
def _database(path: Path) -> Iterator[sqlite3.Connection]:
    """A database with the tables of MLflow that the checks read, large enough to be damaged in its middle."""
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE alembic_version (version_num); CREATE TABLE experiments (name, experiment_id, lifecycle_stage);"
        "CREATE TABLE experiment_tags (experiment_id, key);"
        "CREATE TABLE runs (experiment_id, lifecycle_stage, start_time);"
    )
    connection.executemany("INSERT INTO experiments VALUES (?, 0, 'deleted')", [("x" * 1000,)] * 100)
    connection.commit()
    yield connection
    connection.commit()
    connection.close()


def _problem(path: Path) -> str:
    with pytest.raises(TrackingError) as raised:
        check_database(path, "tracking.uri")
    text = str(raised.value)
    assert text.startswith(f"tracking.uri=sqlite:///{path}: ")
    assert "\n" not in text
    return text


def test_missing_and_empty_files_are_accepted(tmp_path: Path) -> None:
    check_database(tmp_path / "new" / "m.db", "tracking.uri")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "empty.db").touch()
    check_database(tmp_path / "empty.db", "tracking.uri")


def test_healthy_database_is_accepted_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    with _database(path):
        pass
    before = path.read_bytes()
    check_database(path, "tracking.uri")
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["text", "cut", "overwritten", "header"])
def test_damaged_database_is_rejected(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.db"
    with _database(path):
        pass
    content = bytearray(path.read_bytes())
    if damage == "text":
        content = bytearray(b"no database, but text that is long enough for a header\n" * 20)
    elif damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "overwritten":
        content[8192:40960] = os.urandom(32768)
    else:
        content[:16] = bytes(16)
    path.write_bytes(content)
    assert "restore the file" in _problem(path)


def test_database_of_another_program_is_rejected(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "m.db")
    connection.execute("CREATE TABLE passwords (a)")
    connection.close()
    assert "another program" in _problem(tmp_path / "m.db")


def test_folder_and_file_below_a_file_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "m.db").mkdir()
    assert "folder" in _problem(tmp_path / "m.db")
    (tmp_path / "file").touch()
    assert "file" in _problem(tmp_path / "file" / "m.db")


def test_database_that_another_process_writes_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.sqlite_file._CHECK_S", 0.05)
    with _database(tmp_path / "m.db") as connection:
        connection.execute("BEGIN EXCLUSIVE")
        check_database(tmp_path / "m.db", "tracking.uri")


def test_schema_versions_and_newest_experiment_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    path.touch()
    assert schema_versions(path) == set()
    with _database(path) as connection:
        connection.execute("INSERT INTO alembic_version VALUES ('abc')")
    assert (schema_versions(path), page_of_newest_run(path)) == ({"abc"}, None)
    rows = [(1, "active", 10), (3, "active", 30), (2, "active", 20), (4, "deleted", 40)]
    connection = sqlite3.connect(path)
    connection.executemany("INSERT INTO runs VALUES (?, ?, ?)", rows)
    connection.executemany(
        "INSERT INTO experiments VALUES (?, ?, ?)", [("a", 1, "active"), ("b", 2, "deleted")]
    )
    connection.execute("INSERT INTO experiment_tags VALUES (1, ?)", (VIEW_TAG,))
    connection.commit()
    connection.close()
    assert page_of_newest_run(path) == runs_page("3", with_view=False)
    assert page_of_newest_run(path, "a") == runs_page("1")
    assert page_of_newest_run(path, "b") is page_of_newest_run(path, "c") is None
