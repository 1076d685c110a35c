"""Opening an MLflow store: quietly, without touching any other network, and safely beside other processes."""

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
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the sink tries again itself, within its time limit
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
}


def connect(uri: str) -> "MlflowClient":
    """A client of the store, which is created where it does not exist; raises what MLflow raises.

    Sets MLflow's environment variables for this process where the user has not set them, and raises the
    log level of MLflow and Alembic.
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
            _make_database(path)
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _make_database(path: Path) -> None:
    """Make MLflow's tables in a file of another name, and only then give it its own.

    A process that is killed halfway through MLflow's migrations would leave a database that no later one can open.
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
    """Keep others out while tables are made: MLflow's migrations fail when two processes run them at once."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
