"""Adds files to an MLflow run that has ended."""

from pathlib import Path

from orchestrator.errors import TrackingError
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.client import connect


def log_folder(uri: str, run_dir: Path, folder: Path, name: str) -> str:
    """Log the files of `folder` as artifacts `name` of the MLflow run of `run_dir`; returns the MLflow run id.

    Raises TrackingError when `run_dir` has no MLflow run, or when the store does not accept the files.
    """
    delivery = Delivery.load(run_dir)
    if delivery is None or delivery.mlflow_run_id is None:
        raise TrackingError(f"{run_dir} has no MLflow run; the report in {folder} is complete")
    try:
        connect(uri).log_artifacts(delivery.mlflow_run_id, str(folder), name)
    except Exception as error:  # errors of MLflow, requests, SQLAlchemy or the system
        problem = f"MLflow did not accept the report ({type(error).__name__}: {error})".splitlines()[0]
        raise TrackingError(f"{problem}; the report in {folder} is complete") from error
    return delivery.mlflow_run_id
