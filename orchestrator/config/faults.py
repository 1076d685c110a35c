"""Faults that are put into a run on purpose, to see what they do to it.

`check_chaos` raises ConfigError for faults that the executor cannot have.
"""

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from orchestrator.config.section import Positive, Section
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    pass

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class ChaosConfig(Section):
    """Shares of the training tasks, or of the rounds, that a fault hits. `chaos.seed` and the task decide which.

    Under `runtime.failure_policy=retry` they change no result, unless a task fails more often than it is tried, or a
    wrong mask is one that the method's clients may choose.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="decides what is hit")
    tries: Positive = Field(
        1, description="tries of a task that is hit which go wrong; the next one is sound"
    )
    client_raises: Share = Field(0.0, description="tasks whose training raises an error")
    client_hangs: Share = Field(
        0.0, description="tasks that give no answer (ray, with runtime.task_timeout_s)"
    )
    client_dies: Share = Field(0.0, description="tasks whose actor is killed while it trains (ray)")
    update_not_finite: Share = Field(0.0, description="updates with a NaN and an infinity in them")
    update_wrong_shape: Share = Field(0.0, description="updates that lack a value")
    update_wrong_mask: Share = Field(0.0, description="updates under a mask that is not theirs")
    update_stale: Share = Field(0.0, description="updates that answer the round before")
    update_garbage: Share = Field(0.0, description="updates of random bytes")
    driver_dies: Share = Field(
        0.0, description="rounds in which the driver's actor is killed, once each (ray)"
    )

    @property
    def task_faults(self) -> dict[str, float]:
        """Share of the tasks by fault, those of no share left out."""
        names = [name for name in type(self).model_fields if name.startswith(("client_", "update_"))]
        return {name: share for name in names if (share := getattr(self, name))}

    @model_validator(mode="after")
    def _one_fault_a_task(self) -> Self:
        if (total := sum(self.task_faults.values())) > 1.0:
            raise ConfigError(
                "chaos",
                f"{total:g}",
                "a task has one fault at most, and the shares add up to more than 1",
                "lower them",
            )
        return self
