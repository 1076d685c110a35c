"""Files that are added to an MLflow run after it has ended."""

from pathlib import Path

from orchestrator.errors import TrackingError
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.client import connect


def log_folder(uri: str, run_dir: Path, folder: Path, name: str) -> str:
    """Log a folder's files under a name with the MLflow run that follows `run_dir`; returns that run's id.

    Raises TrackingError when no MLflow run follows it, or when the store does not take the files.
    """
    delivery = Delivery.noted(run_dir)
    if delivery is None or delivery.mlflow_run_id is None:
        raise TrackingError(f"no MLflow run follows {run_dir}; the report in {folder} is complete")
    try:
        connect(uri).log_artifacts(delivery.mlflow_run_id, str(folder), name)
    except Exception as error:  # the client raises MLflow's, requests', SQLAlchemy's and the system's
        problem = f"MLflow did not take the report ({type(error).__name__}: {error})".splitlines()[0]
        raise TrackingError(f"{problem}; it is complete in {folder}") from error
    return delivery.mlflow_run_id
