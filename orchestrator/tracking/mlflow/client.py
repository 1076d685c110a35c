"""Opens an MLflow store: without log output, without telemetry, and safely when several processes open it."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.atomic_write import PRIVATE_FILE, PRIVATE_FOLDER
from orchestrator.tracking.uris import client_uri, sqlite_path, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the sink itself retries, within its time limit
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


def connect(uri: str) -> "MlflowClient":
    """Return a client of the store, and create a SQLite store that does not exist. Raises the errors of MLflow.

    The function sets MLflow's environment variables that the user has not set, for this process, and silences the logs
    of MLflow and Alembic.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401  (the import sets the levels of MLflow's loggers, so it comes first)

    for name, level in (
        ("mlflow", logging.ERROR),
        ("mlflow.store.db", logging.CRITICAL),
        ("alembic", logging.ERROR),
    ):
        logging.getLogger(name).setLevel(level)
    path = sqlite_path(uri)
    if path is None:
        return _client(uri)
    with _locked(path.parent):
        if not path.exists():
            _create_database(path)
        return _client(uri)


def _client(uri: str) -> "MlflowClient":
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=client_uri(uri), registry_uri=client_uri(uri))


def _create_database(path: Path) -> None:
    """Create MLflow's tables in a file of another name, and then rename the file.

    A process that is killed during MLflow's migrations leaves a database that no process can open.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    for leftover in path.parent.iterdir():
        if leftover.name.startswith(unfinished.name):
            leftover.unlink()
    os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY, PRIVATE_FILE))
    _client(sqlite_uri(unfinished))
    unfinished.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder while tables are created, because MLflow's migrations fail in two processes at once."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
