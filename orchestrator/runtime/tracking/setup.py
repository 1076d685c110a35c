"""Decides and checks, before a run or a sweep starts, where it is tracked."""

import os

from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.tracking.destination import (
    DEFAULT_EXPERIMENT,
    Destination,
    find_destination,
    recorded_destination,
)
from orchestrator.tracking.mlflow.experiment import check_experiment
from orchestrator.tracking.reachable import check_reachable
from orchestrator.tracking.uris import canonical_uri, sqlite_path, sqlite_uri


def resolve_tracking(
    config: ExperimentConfig, *, is_recorded: bool = False
) -> tuple[ExperimentConfig, Destination | None]:
    """Return the config with the store and the experiment, and the destination; None when tracking is off.

    The run's folder stores this config, so that a resumed run goes to the same place. The config contains no password.
    With `is_recorded`, the config is of a run whose destination was decided when it started.
    """
    tracking = config.tracking
    find = recorded_destination if is_recorded or not tracking.enabled else find_destination
    destination = find(tracking.uri, tracking.experiment)
    changes = {"uri": destination.uri, "experiment": destination.experiment}
    if not tracking.enabled:
        changes["experiment"] = tracking.experiment
    resolved = config.model_copy(update={"tracking": tracking.model_copy(update=changes)})
    return resolved, destination if tracking.enabled else None


def tracking_values(config: ExperimentConfig) -> dict[str, str]:
    """Return the keys of the store and the experiment that the config sets."""
    values = {"tracking.uri": config.tracking.uri, "tracking.experiment": config.tracking.experiment}
    return {key: value for key, value in values.items() if value is not None}


def tracking_uri(config: ExperimentConfig) -> str:
    """Return the URI of the configured tracking server, or of the SQLite file in the storage folder.

    Paths of SQLite files are absolute.
    """
    if config.tracking.uri is None:
        return sqlite_uri(config.runtime.storage.resolve() / "mlflow.db")
    return canonical_uri(config.tracking.uri)


def experiment_name(config: ExperimentConfig) -> str:
    """Return the name of the configured experiment, or the default."""
    return config.tracking.experiment or DEFAULT_EXPERIMENT


def check_storage_and_tracking(config: ExperimentConfig) -> None:
    """Create the storage folder, and check everything that MLflow could reject at the end of a run.

    Raises ConfigError and TrackingError.
    """
    storage = config.runtime.storage
    try:
        storage.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder cannot be created ({error.strerror})"
        raise ConfigError("runtime.storage", storage, problem, "choose a writable folder") from error
    if not os.access(storage, os.W_OK | os.X_OK):
        problem = "this folder is not writable"
        raise ConfigError("runtime.storage", storage, problem, "choose a writable folder")
    if config.tracking.enabled:
        uri = tracking_uri(config)
        check_reachable(uri)
        check_experiment(uri, experiment_name(config))


def destination_note(config: ExperimentConfig, destination: Destination | None) -> str:
    """Return the line that tells the user where the run is tracked."""
    if destination is None:
        return "MLflow is off"
    source = " (from MLFLOW_TRACKING_URI)" if destination.from_environment else ""
    parent = f", nested in run {destination.parent_run_id}" if destination.parent_run_id else ""
    uri = tracking_uri(config)
    return f"MLflow: {sqlite_path(uri) or uri}{source}, experiment {experiment_name(config)!r}{parent}"


def parent_tags(destination: Destination | None) -> dict[str, str]:
    """Return the tag with which MLflow nests the run in the active run; empty when no run is active."""
    if destination is None or destination.parent_run_id is None:
        return {}
    return {"mlflow.parentRunId": destination.parent_run_id}
