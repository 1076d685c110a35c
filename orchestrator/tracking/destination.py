"""Decides where a run is tracked: config keys come first, then MLflow's own settings, then a file in the storage."""

import os
from dataclasses import dataclass

from orchestrator.tracking.mlflow.active import active_mlflow, experiment_of_run, name_of_experiment
from orchestrator.tracking.reachable import check_reachable
from orchestrator.tracking.uris import canonical_uri, public_uri, take_credentials

#: the experiment if neither the config nor MLflow's settings name one
DEFAULT_EXPERIMENT = "sparsefleet"
#: variables of MLflow's client that decide where a run is tracked
VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a run is tracked.

    - `uri`: the store, without user name and password; None: the SQLite file in the storage folder.
    - `parent_run_id`: the active MLflow run, below which the new run is nested; None: no run is active.
    - `from_environment`: whether `uri` comes from MLflow's own settings.
    """

    uri: str | None
    experiment: str
    parent_run_id: str | None = None
    from_environment: bool = False


def recorded_destination(uri: str | None, experiment: str | None) -> Destination:
    """Return the destination that the config of a resumed run names, whatever MLflow's own settings say now."""
    return Destination(
        uri=uri and canonical_uri(take_credentials("tracking.uri", uri)),
        experiment=experiment or DEFAULT_EXPERIMENT,
    )


def find_destination(uri: str | None, experiment: str | None) -> Destination:
    """Return where a new run is tracked. `uri` and `experiment` are config keys; None means not set.

    The function reads MLflow's environment variables, and what `mlflow.set_tracking_uri`, `mlflow.set_experiment` and
    `mlflow.start_run` have set in this process. It moves a password in a URI to MLflow's environment variables.
    Raises the errors of `check_reachable` for a URI of the environment, and ConfigError for an unknown id.
    """
    active = active_mlflow()
    offered = active.uri or os.environ.get(VARIABLES[0]) or None
    if offered is not None:
        public = take_credentials(VARIABLES[0], offered) if uri is None else public_uri(offered)
        offered = canonical_uri(public)
    key = uri and canonical_uri(take_credentials("tracking.uri", uri))
    store = key or offered
    if store is None or store != offered:
        return Destination(uri=store, experiment=experiment or _named_experiment())
    if uri is None:
        check_reachable(store, VARIABLES[0])
    parent = active.run_id or os.environ.get("MLFLOW_RUN_ID") or None
    return Destination(
        uri=store,
        experiment=experiment or _active_experiment(store, parent),
        parent_run_id=parent,
        from_environment=uri is None,
    )


def _active_experiment(uri: str, run_id: str | None) -> str:
    """Return the experiment of the active run, else the active experiment."""
    if run_id is not None:
        return experiment_of_run(uri, run_id)
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return name_of_experiment(uri, experiment_id)
    return _named_experiment()


def _named_experiment() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or DEFAULT_EXPERIMENT
