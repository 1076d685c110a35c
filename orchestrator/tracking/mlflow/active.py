"""Reads what the user's own MLflow code in this process has set: tracking URI, experiment and active run."""

import os
import sys
from dataclasses import dataclass

from orchestrator.errors import ConfigError
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.errors import is_rejection

_IDS = ("MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


@dataclass(frozen=True, slots=True)
class ActiveMlflow:
    """MLflow's tracking URI and active run in this process; None for each that the process has not set."""

    uri: str | None
    run_id: str | None


def active_mlflow() -> ActiveMlflow:
    """Return what `mlflow.set_tracking_uri`, `mlflow.set_experiment` and `mlflow.start_run` have set in this process.

    A process that has not imported MLflow has set nothing. The id of an experiment or a run without a tracking URI
    belongs to MLflow's default store, `mlflow.db` in the working folder.
    """
    has_id = any(os.environ.get(name) for name in _IDS)
    if "mlflow" not in sys.modules and not has_id:
        return ActiveMlflow(None, None)
    import mlflow

    run = mlflow.active_run()
    is_used = mlflow.is_tracking_uri_set() or run is not None or has_id
    return ActiveMlflow(mlflow.get_tracking_uri() if is_used else None, run.info.run_id if run else None)


def name_of_experiment(uri: str, experiment_id: str) -> str:
    """Return an experiment's name. Raises ConfigError when the store has no experiment with this id."""
    try:
        return str(connect(uri).get_experiment(experiment_id).name)
    except Exception as error:
        raise _unknown("MLFLOW_EXPERIMENT_ID", experiment_id, error) from error


def experiment_of_run(uri: str, run_id: str) -> str:
    """Return the name of a run's experiment. Raises ConfigError when the store has no run with this id."""
    try:
        client = connect(uri)
        return str(client.get_experiment(client.get_run(run_id).info.experiment_id).name)
    except Exception as error:
        raise _unknown("MLFLOW_RUN_ID", run_id, error) from error


def _unknown(variable: str, value: str, error: Exception) -> Exception:
    """Return the ConfigError for a rejected id, and any other error unchanged."""
    if not is_rejection(error):
        return error
    remedy = "unset the variable, or set tracking.uri and tracking.experiment"
    return ConfigError(variable, value, "the MLflow store does not have it", remedy)
