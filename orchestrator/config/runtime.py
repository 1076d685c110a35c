"""Where and how a run executes, and where its metrics go."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.config.section import (
    Positive,
    Section,
    UserPath,
)


class RuntimeConfig(Section):
    """Where and how it runs. Nothing here changes a result, unless clients fail and are left out (`drop`)."""

    executor: Literal["inprocess", "ray"] = Field("ray", description="one process, or actors on Ray")
    actors: Literal["auto", "dedicated", "pooled"] = Field(
        "auto", description="one actor per client, a pool of actors, or dedicated where that fits"
    )
    pool_size: Positive | None = Field(None, description="pooled actors in all; None: one per core")
    address: str | None = Field(
        None, description="Ray cluster to join (`auto` or host:port); None: a local one"
    )
    dashboard: bool = Field(False, description="start Ray's dashboard with a local Ray (costs start-up time)")
    storage: UserPath = Field(
        Path("runs"), description="folder in which each run keeps its commits and artifacts"
    )
    failure_policy: Literal["retry", "drop"] = Field(
        "retry", description="a failed client is tried again, then the run fails; or its update is left out"
    )
    max_retries: Annotated[int, Field(ge=0)] = Field(
        2, description="further tries of a failed client (retry)"
    )
    min_clients: Positive = Field(1, description="fewest updates a round may end with (drop)")
    task_timeout_s: float | None = Field(
        None, gt=0.0, description="a client that gives no answer for so long has failed (ray); None: never"
    )
    restart_timeout_s: float = Field(
        120.0,
        gt=0.0,
        description="how long to wait for Ray to restart lost client actors before they are placed anew, and in a "
        "sweep for a lost node that trials wait for (ray)",
    )


class TrackingConfig(Section):
    """Where MLflow keeps the metrics."""

    uri: str | None = Field(None, description="MLflow server; None: a SQLite file in `runtime.storage`")
    experiment: str = Field("sparsefleet", min_length=1, description="MLflow experiment name")
    enabled: bool = Field(True, description="write to MLflow; the run's own folder is always written")
    flush_timeout_s: float = Field(60.0, gt=0.0, description="how long to wait for a lost server at the end")
