"""Opens an MLflow store: without log output, without telemetry, and safely when several processes open it."""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tracking.reachable import sqlite_path

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
    from mlflow import MlflowClient

    for name, level in (
        ("mlflow", logging.ERROR),
        ("mlflow.store.db", logging.CRITICAL),
        ("alembic", logging.ERROR),
    ):
        logging.getLogger(name).setLevel(level)
    path = sqlite_path(uri)
    if path is None:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    with _locked(path.parent):
        if not path.exists():
            _create_database(path)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _create_database(path: Path) -> None:
    """Create MLflow's tables in a file of another name, and then rename the file.

    A process that is killed during MLflow's migrations leaves a database that no process can open.
    """
    from mlflow import MlflowClient

    unfinished = path.with_name(f"{path.name}.unfinished")
    for leftover in path.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    uri = f"sqlite:///{unfinished}"
    MlflowClient(tracking_uri=uri, registry_uri=uri)
    unfinished.rename(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder while tables are created, because MLflow's migrations fail in two processes at once."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
