"""What a tracking server asks for, on its way from the command to the process that speaks with it."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: where MLflow's client looks for them
NAMES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


def connecting() -> Callable[[str], "MlflowClient"]:
    """Opens stores, in whatever process it is called, with this process's credentials.

    A cluster's processes have the environment of whoever started the cluster. They travel as an argument, which Ray
    neither shows nor logs, unlike an actor's environment.
    """
    return partial(_connect, {name: os.environ[name] for name in NAMES if name in os.environ})


def _connect(credentials: Mapping[str, str], uri: str) -> "MlflowClient":
    from orchestrator.tracking.mlflow.client import connect

    os.environ.update(credentials)
    return connect(uri)
