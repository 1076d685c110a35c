"""Checks, before a run starts and without MLflow, that a SQLite file is a readable and writable database of MLflow.

MLflow itself retries for more than a minute to open a damaged file.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from orchestrator.errors import TrackingError
from orchestrator.tracking.presentation.pages import VIEW_TAG, runs_page
from orchestrator.tracking.uris import sqlite_uri

#: a file that is too large to read completely in this time is checked in part
_CHECK_S = 5.0
_INSTRUCTIONS_PER_CALL = 10_000
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_OTHER_FILE = "restore the file from a copy, or track runs in another file (tracking.uri)"


def check_database(path: Path, field: str) -> None:
    """Create the folder of a database if it does not exist. Raises TrackingError unless MLflow can use the file.

    `field` is the key or variable that names the database.
    """
    problem, remedy = None, "choose a path that can be written"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder {path.parent} cannot be created ({error.strerror})"
    else:
        for place in (path.parent, path):
            if place.exists() and not os.access(place, os.W_OK):
                problem = f"{place} is not writable"
        if path.is_dir():
            problem = f"{path} is a folder"
        elif problem is None and path.exists():
            problem, remedy = _damage(path), _OTHER_FILE
    if problem is not None:
        raise TrackingError(f"{field}={sqlite_uri(path)}: {problem}; {remedy}")


def page_of_newest_run(path: Path, experiment: str | None = None) -> str | None:
    """Return the page with the runs of the experiment of the newest run in MLflow's database; None without runs.

    `experiment` names the experiment instead; None also when no active experiment has this name.
    """
    chosen = "SELECT experiment_id FROM experiments WHERE lifecycle_stage = 'active' AND name = ?"
    newest = (
        "SELECT experiment_id FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time DESC LIMIT 1"
    )
    view = "SELECT 1 FROM experiment_tags WHERE experiment_id = ? AND key = ?"
    with _opened(path, "ro") as connection:
        if ("runs",) not in connection.execute(_TABLES).fetchall():
            return None
        question = (newest,) if experiment is None else (chosen, (experiment,))
        found = connection.execute(*question).fetchone()
        if found is None:
            return None
        has_view = connection.execute(view, (found[0], VIEW_TAG)).fetchone() is not None
    return runs_page(str(found[0]), with_view=has_view)


def schema_versions(path: Path) -> set[str]:
    """Return the version of the tables in MLflow's database; empty for a database without tables."""
    with _opened(path, "ro") as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
        versions = connection.execute("SELECT version_num FROM alembic_version").fetchall() if tables else []
    return {version for (version,) in versions}


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open an existing file, with mode `ro` or `rw`."""
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=_CHECK_S)
    try:
        yield connection
    finally:
        connection.close()


def _damage(path: Path) -> str | None:
    """Return what is wrong with an existing database; None for a healthy file and for a file that is in use."""
    deadline_s = time.monotonic() + _CHECK_S
    try:
        with _opened(path, "rw") as connection:
            connection.set_progress_handler(lambda: time.monotonic() > deadline_s, _INSTRUCTIONS_PER_CALL)
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                return f"the database is damaged ({' '.join(result.split())})"
            tables = {name for (name,) in connection.execute(_TABLES)}
            if tables and not {"alembic_version", "experiments", "runs"} <= tables:
                return "this is a database of another program, not of MLflow"
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.OperationalError as error:
        # another process writes at this moment, or the file is large; MLflow itself waits
        if error.sqlite_errorcode in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return None
        return f"the database cannot be used ({error})"
    except sqlite3.DatabaseError as error:
        return f"the database is damaged ({error})"
    return None
