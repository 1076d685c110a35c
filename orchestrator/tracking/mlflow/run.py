"""Finds or creates the MLflow run of a Sparsefleet run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.experiment import find_or_create_experiment
from orchestrator.tracking.mlflow.names import MAX_NAME_LENGTH, accepted_name
from orchestrator.tracking.mlflow.note import first_note
from orchestrator.tracking.presentation.metric_names import EARLIER_PREFIX
from orchestrator.tracking.record import RunInfo

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MAX_ENTITIES_PER_CALL = 100
MAX_PARAM_LENGTH = 6000
#: ending of a metric that every round logs
_EVERY_ROUND = "/upload_bytes_total"
RUN_ID_TAG = "sparsefleet.run_id"
DELIVERY_ID_TAG = "sparsefleet.delivery_id"


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """An MLflow run with status RUNNING.

    - `is_saved`: it is the run that the saved state of delivery names.
    - `has_earlier_names`: an earlier release has logged metrics in it, under names that this release has changed.
    """

    mlflow_run_id: str
    experiment_id: str
    is_saved: bool
    has_earlier_names: bool


def open_run(client: "MlflowClient", info: RunInfo, saved: Delivery, start_time_ms: int) -> OpenedRun:
    """Find or create the MLflow run of `info`.

    The run has status RUNNING and the params of `info`. If the run that `saved` names does not exist, the function
    searches a run with the tag of this delivery (a process that died before it saved the id), else it creates a run.
    MLflow does not allow changed params, so the function logs a changed param as tag `sparsefleet.resumed.<param>`.
    Raises ConfigError for a deleted experiment, and the errors of MLflow.
    """
    experiment_id = find_or_create_experiment(client, info.uri, info.experiment, info.artifact_root)
    run = None if saved.mlflow_run_id is None else _existing(client, saved.mlflow_run_id)
    is_saved = run is not None
    if run is None:
        with_tag = f"tags.`{DELIVERY_ID_TAG}` = '{saved.delivery_id}'"
        run = next(iter(client.search_runs([experiment_id], with_tag, max_results=1)), None)
    if run is None:
        note = first_note(client, info, experiment_id)
        tags = {**_accepted(info.tags), RUN_ID_TAG: info.run_id, DELIVERY_ID_TAG: saved.delivery_id, **note}
        run = client.create_run(experiment_id, start_time_ms, tags, info.run_name[:MAX_NAME_LENGTH])
    elif run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    _log_params(client, run, info.params)
    return OpenedRun(
        str(run.info.run_id),
        str(run.info.experiment_id),
        is_saved,
        has_earlier_names=any(name.startswith(EARLIER_PREFIX) for name in run.data.metrics),
    )


def _accepted(tags: Mapping[str, str]) -> dict[str, str]:
    return {accepted_name(name): value for name, value in tags.items()}


def delete_duplicates(client: "MlflowClient", run: "Run", delivery_id: str) -> None:
    """Delete the other MLflow runs of this delivery that are empty.

    A server may create a run although the client has not waited for the answer, and even after the client has asked
    again. The client does not know such a run, so it has neither params nor metrics.
    """
    with_tag = f"tags.`{DELIVERY_ID_TAG}` = '{delivery_id}'"
    for found in client.search_runs([run.info.experiment_id], with_tag):
        is_empty = not found.data.params and not found.data.metrics
        if found.info.run_id != run.info.run_id and is_empty:
            client.delete_run(found.info.run_id)


def num_rounds(client: "MlflowClient", mlflow_run_id: str) -> int:
    """Return the number of rounds in an MLflow run; 0 for a run that was deleted."""
    run = _existing(client, mlflow_run_id)
    totals = [] if run is None else sorted(name for name in run.data.metrics if name.endswith(_EVERY_ROUND))
    if not totals:
        return 0
    return 1 + max(int(metric.step) for metric in client.get_metric_history(mlflow_run_id, totals[0]))


def _existing(client: "MlflowClient", mlflow_run_id: str) -> "Run | None":
    """Return the run; None when the run was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(mlflow_run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _log_params(client: "MlflowClient", run: "Run", params: dict[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    wanted = {accepted_name(name): value[:MAX_PARAM_LENGTH] for name, value in params.items()}
    logged = run.data.params
    new = [Param(name, value) for name, value in wanted.items() if name not in logged]
    changed = [
        RunTag(accepted_name(f"sparsefleet.resumed.{name}"), value)
        for name, value in wanted.items()
        if logged.get(name, value) != value
    ]
    for start in range(0, max(len(new), len(changed)), MAX_ENTITIES_PER_CALL):
        stop = start + MAX_ENTITIES_PER_CALL
        client.log_batch(run.info.run_id, params=new[start:stop], tags=changed[start:stop])
