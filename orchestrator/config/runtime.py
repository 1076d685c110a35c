"""The sections that decide where and how a run executes, and where its metrics go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from orchestrator.config.section import Positive, Section, UserPath, dotted_names


def _auto_or_number(value: object) -> object:
    """Raise PydanticCustomError for a value of `cohort` that is neither `auto` nor a positive number."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise PydanticCustomError(
        "cohort", "expected auto, 1 (clients train one by one) or a larger number of clients"
    )


class RuntimeConfig(Section):
    """Where and how a run executes. These options change no result, unless `failure_policy=drop` drops updates."""

    executor: Literal["inprocess", "ray"] = Field("ray", description="one process, or actors on Ray")
    actors: Literal["auto", "dedicated", "pooled"] = Field(
        "auto",
        description="dedicated: one actor per client; pooled: shared actors; auto: dedicated if they fit",
    )
    pool_size: Positive | None = Field(None, description="total number of pooled actors; None: one per core")
    cohort: Annotated[Literal["auto"] | Positive, BeforeValidator(_auto_or_number)] = Field(
        "auto",
        description="largest number of clients that an actor trains together, with stacked models; their results agree "
        "with those of single clients within rounding; auto: 1 on a CPU, as many as fit on a GPU",
    )
    aggregators: Literal["auto"] | Positive = Field(
        "auto",
        description="number of actors that add the clients' updates, each for a slice of the model; auto: the driver "
        "adds them, unless a round has many values and the clients leave cores free (ray)",
    )
    address: str | None = Field(
        None, description="Ray cluster to join (`auto` or host:port); None: start a local one"
    )
    dashboard: bool = Field(
        False, description="start Ray's dashboard with a local Ray, and print its address (slows the start)"
    )
    storage: UserPath = Field(
        Path("runs"),
        description="folder that contains the folder of each run, with checkpoints and artifacts",
    )
    failure_policy: Literal["retry", "drop"] = Field(
        "retry", description="retry a failed task, then fail the run; or drop the client's update"
    )
    max_retries: Annotated[int, Field(ge=0)] = Field(2, description="retries of a failed task (retry)")
    min_clients: Positive = Field(1, description="fewest updates that a round needs (drop)")
    task_timeout_s: float | None = Field(
        None, gt=0.0, description="a task without a result for this long has failed (ray); None: no limit"
    )
    restart_timeout_s: float = Field(
        120.0,
        gt=0.0,
        description="how long to wait for Ray to restart lost client actors before placing the clients again; in a "
        "sweep also how long trials wait for a lost node (ray)",
    )
    grace_period_s: float = Field(
        20.0,
        gt=0.0,
        description="how long SIGTERM or SIGHUP lets the round in progress and its delivery to MLflow take; Slurm and "
        "Kubernetes kill a process after 30 s",
    )
    profile: bool = Field(
        False,
        description="measure what driver and clients spend each round's time on (`run --profile` prints it)",
    )


class TrackingConfig(Section):
    """Where MLflow stores the metrics."""

    uri: str | None = Field(
        None,
        description="MLflow server or SQLite file; None: MLFLOW_TRACKING_URI, else a SQLite file in `runtime.storage`",
    )
    experiment: str | None = Field(
        None,
        min_length=1,
        description="MLflow experiment name; None: that of the active MLflow run, else MLFLOW_EXPERIMENT_NAME, else "
        "`sparsefleet`",
    )
    enabled: bool = Field(True, description="write to MLflow; the run's own folder is always written")
    flush_timeout_s: float = Field(
        60.0, gt=0.0, description="how long to wait at the end for a server that does not answer"
    )
    run_name: str | None = Field(
        None, min_length=1, max_length=250, description="name of the MLflow run; None: the run's id"
    )
    tags: Annotated[Mapping[str, str], BeforeValidator(dotted_names)] = Field(
        {}, description="more tags of the MLflow run, as {name: text}"
    )
    note: str | None = Field(
        None, max_length=4000, description="Markdown that the description of the MLflow run starts with"
    )
    system_metrics: bool = Field(
        False, description="log the use of processor, memory, disk, network and GPU of the driver's machine"
    )
