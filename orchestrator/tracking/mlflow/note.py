"""Writes the description of an MLflow run, and leaves a description that a user has edited as it is."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.tracking.presentation.run_page import digest, markdown
from orchestrator.tracking.record import RunInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE_TAG, PARENT_TAG = "mlflow.note.content", "mlflow.parentRunId"
#: tag with the digest of the description that Sparsefleet has written
DIGEST_TAG = "sparsefleet.note_digest"


def first_note(client: "MlflowClient", info: RunInfo, experiment_id: str) -> dict[str, str]:
    """Return the tags with the description of a new run."""
    return _tags(client, info, experiment_id, None, "RUNNING", info.tags.get(PARENT_TAG))


def update_note(
    client: "MlflowClient",
    info: RunInfo,
    mlflow_run_id: str,
    summary: Mapping[str, object] | None,
    status: str,
) -> None:
    """Replace the description of a run, unless a user has edited it. `summary` is None while the run is in progress."""
    from mlflow.entities import RunTag

    run = client.get_run(mlflow_run_id)
    tags, experiment_id = run.data.tags, str(run.info.experiment_id)
    present = tags.get(NOTE_TAG)
    if present is not None and digest(present) != tags.get(DIGEST_TAG):
        return
    new = _tags(client, info, experiment_id, summary, status, tags.get(PARENT_TAG))
    if new[NOTE_TAG] != present:  # both tags in one request, so that they always belong together
        client.log_batch(mlflow_run_id, tags=[RunTag(name, value) for name, value in new.items()])


def _tags(
    client: "MlflowClient",
    info: RunInfo,
    experiment_id: str,
    summary: Mapping[str, object] | None,
    status: str,
    parent_id: str | None,
) -> dict[str, str]:
    parent = None
    if parent_id is not None:
        parent = experiment_id, parent_id, _name(client, parent_id)
    text = markdown(info.description, summary, status, parent)
    return {NOTE_TAG: text, DIGEST_TAG: digest(text)}


def _name(client: "MlflowClient", mlflow_run_id: str) -> str:
    """Return the name of a run; its id if the store does not have the run."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_run(mlflow_run_id).info.run_name or mlflow_run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return mlflow_run_id
