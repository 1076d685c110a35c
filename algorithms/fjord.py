"""FjORD: clients train nested submodels of random width, up to the width that the device supports.

A client has the first units of each layer, as many as its device supports. For each mini-batch it trains a smaller
submodel of random width, so that every width up to its own is a usable model. The server averages each coordinate over
the clients that have it, weighted by samples.

Symbols: P = algorithm.widths, p_max = ratio, p = width of a mini-batch, K_l = num_units of a group, prefix = the first
ceil(p K_l) units.

Deviations:

- This is written from general knowledge of the method.
- A device's p_max is the largest of `widths` that it supports. If the smallest width is too large, p_max is the
  device's capability.
- The widths share one set of batch norm statistics. They are cut, carried from step to step and averaged like any
  other coordinate. Paper and code keep a set for each width.
- Momentum and weight decay act on the whole p_max model in every step, also outside the prefix, as in the public code.
- The paper's weight of distillation is not known. With `distill`, the gradient of a step is that of p_max on the
  labels plus `distill_weight` times that of p on the softened outputs of p_max. The FLOPs of both widths are counted.
  The defaults are those of the public code: no weight and no temperature.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, final

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from algorithms import references
from orchestrator.method import (
    Batch,
    ClientRatio,
    ClientTask,
    ConfigError,
    KeptUnits,
    LocalRun,
    StructuredAlgorithm,
    StructuredConfig,
    Traits,
    first_units,
    stream,
)

_TOLERANCE = 1e-9


class FjORDConfig(StructuredConfig):
    """Options of FjORD."""

    widths: tuple[Annotated[float, Field(gt=0.0, le=1.0)], ...] = Field(
        (0.2, 0.4, 0.6, 0.8, 1.0), min_length=1, description="P: widths at which a mini-batch may be trained"
    )
    distill: bool = Field(
        False, description="smaller widths learn from the outputs of the client's largest width"
    )
    distill_weight: float = Field(1.0, ge=0.0, description="weight of the smaller width's loss (distill)")
    temperature: float = Field(
        1.0, gt=0.0, description="temperature of the softmax of the teacher's outputs (distill)"
    )


@dataclass
class FjORDTask:
    """Scratch value of a task: p_max and the number of steps so far."""

    largest: float
    num_steps: int = 0


@final
class FjORD(StructuredAlgorithm[ClientRatio]):
    """Ordered dropout."""

    Config = FjORDConfig
    config: FjORDConfig
    traits: ClassVar[Traits] = Traits(
        scope="per device",
        structure="structured",
        when="each round",
        density="per device",
        citations=(references.FJORD,),
    )

    def check(self) -> None:
        """Reject a repeated width, which would be chosen too often, and a bandit, whose ratio would not be trained."""
        super().check()
        if self.config.ratio_policy == "p_ucbv":
            problem = "a client's largest width is one of algorithm.widths, which the bandit ignores"
            raise ConfigError("algorithm.ratio_policy", "p_ucbv", problem, "use capability or fixed")
        widths = self.config.widths
        if len(set(widths)) < len(widths):
            raise ConfigError(
                "algorithm.widths", list(widths), "a width is listed twice", "list each width once"
            )

    def ratio(self, task: ClientTask, client_state: ClientRatio) -> float:
        """p_max: the largest width that the device supports, or the device's ratio if no width fits."""
        limit = super().ratio(task, client_state)
        return max((p for p in self.config.widths if p <= limit + _TOLERANCE), default=limit)

    def kept(self, task: ClientTask, client_state: ClientRatio) -> KeptUnits:
        """The prefix of p_max."""
        return self.prefix(self.ratio(task, client_state))

    def prefix(self, width: float) -> KeptUnits:
        """The first ceil(p K_l) units of each group."""
        return first_units(self.setting.units, self.counts(width))

    def on_train_start(self, run: LocalRun[ClientRatio]) -> None:
        """Store p_max, and count the steps, so that each step gets its own random width."""
        run.put_scratch(FjORDTask(largest=self.ratio(run.task, run.state)))

    def sample_width(self, run: LocalRun[ClientRatio]) -> float:
        """p of the next step: uniform on the widths up to p_max."""
        task, scratch = run.task, run.scratch(FjORDTask)
        limit, step = scratch.largest, scratch.num_steps
        scratch.num_steps += 1
        rng = stream(self.setting.seed, "client", task.round_idx, task.client_id, "width", step)
        fitting = [p for p in self.config.widths if p <= limit] or [limit]
        return fitting[int(rng.integers(len(fitting)))]

    def step(self, run: LocalRun[ClientRatio], batch: Batch) -> None:
        """One step at a random width."""
        width = self.sample_width(run)
        if self.config.distill and width < run.scratch(FjORDTask).largest:
            self._distill(run, batch, self.prefix(width))
        else:
            run.backward_submodel(batch, self.prefix(width))
        run.apply_gradient()

    def _distill(self, run: LocalRun[ClientRatio], batch: Batch, kept: KeptUnits) -> None:
        """Leave the gradient of both widths in `run.grad`."""
        targets: list[Tensor] = []

        def teacher_loss(logits: Tensor, labels: Tensor) -> Tensor:
            targets.append(softmax(logits.detach() / self.config.temperature, dim=1))
            return cross_entropy(logits, labels)

        run.backward(batch, teacher_loss)
        gradient = run.grad.clone()
        run.backward_submodel(batch, kept, partial(self._distillation_loss, targets[0]))
        run.grad.add_(gradient)

    def _distillation_loss(self, target: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        return self.config.distill_weight * cross_entropy(logits / self.config.temperature, target)
