"""The `chaos` section: faults that a run injects into itself, to test how it recovers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from orchestrator.config.section import Positive, Section
from orchestrator.errors import ConfigError

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ChaosConfig(Section):
    """Share of the training tasks, or of the rounds, that each fault hits. `chaos.seed` decides which ones.

    With `runtime.failure_policy=retry`, faults do not change the result, except in two cases: a task fails more often
    than the run retries it, or the method accepts the wrong mask.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="decides which tasks and rounds fail")
    tries: Positive = Field(1, description="attempts of a task that fail; the next attempt succeeds")
    client_raises: Share = Field(0.0, description="share of tasks whose training raises an error")
    client_hangs: Share = Field(
        0.0, description="share of tasks that never return (ray, with runtime.task_timeout_s)"
    )
    client_dies: Share = Field(0.0, description="share of tasks whose actor is killed during training (ray)")
    update_not_finite: Share = Field(0.0, description="share of updates with a NaN and an infinity")
    update_wrong_shape: Share = Field(0.0, description="share of updates with a missing value")
    update_wrong_mask: Share = Field(0.0, description="share of updates under a wrong mask")
    update_stale: Share = Field(0.0, description="share of updates that belong to the round before")
    update_garbage: Share = Field(0.0, description="share of updates that are random bytes")
    aggregator_dies: Share = Field(
        0.0,
        description="share of rounds in which an aggregator is killed, once in each phase (ray, runtime.aggregators)",
    )
    driver_dies: Share = Field(
        0.0, description="share of rounds in which the driver's actor is killed, once each (ray)"
    )

    @property
    def task_faults(self) -> dict[str, float]:
        """Share of the tasks by fault, without faults of share 0."""
        names = [name for name in type(self).model_fields if name.startswith(("client_", "update_"))]
        return {name: share for name in names if (share := getattr(self, name))}

    @model_validator(mode="after")
    def _check_sum_of_shares(self) -> Self:
        if (total := sum(self.task_faults.values())) > 1.0:
            raise ConfigError(
                "chaos",
                f"{total:g}",
                "a task has at most one fault, but the shares add up to more than 1",
                "lower the shares",
            )
        return self
