"""Passes the credentials for a tracking server from the command's process to the process that uses the server."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: environment variables that MLflow's client reads
VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def client_factory() -> Callable[[str], "MlflowClient"]:
    """Return a function that opens a store in any process, with the credentials of this process.

    The processes of a cluster have the environment of the user who started the cluster, not the environment of this
    command. The function carries the credentials as an argument of an actor, because Ray shows and logs the environment
    of an actor, but not its arguments.
    """
    return partial(_connect, {name: os.environ[name] for name in VARIABLES if name in os.environ})


def _connect(credentials: Mapping[str, str], uri: str) -> "MlflowClient":
    from orchestrator.tracking.mlflow.client import connect

    os.environ.update(credentials)
    return connect(uri)
