"""Local optimisers on one flat vector.

The classes implement torch.optim's update rules. An optimiser from torch.optim imports torch's compiler, which costs
every client actor more than 3 s of CPU time and 80 MiB (tests/benchmarks/footprint.py). Tests check that SGD equals
torch.optim bit for bit, and that Adam and AdamW agree within 1e-6.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, final

import torch
from torch import Tensor

from orchestrator.config.training import TrainingConfig

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # torch.optim's defaults


class Optimizer(Protocol):
    """Updates float32[T] values in place from float32[T] gradients. Each task starts with a new optimiser.

    `lr` is the learning rate of the steps; for a schedule over steps, of the last step.
    """

    lr: float

    def step(self, values: Tensor, grad: Tensor) -> None:
        """Take one step; `grad` may be overwritten."""

    def forget(self, entries: Tensor) -> None:
        """Zero the state of the entries where bool[T] `entries` is True."""


def make_optimizer(training: TrainingConfig, round_idx: int, num_steps: Callable[[], int]) -> Optimizer:
    """A new optimiser with the learning rate of the round, or with the rates of a task of `num_steps()` steps."""
    optimizer = _optimizer(training, training.lr_at(round_idx))
    if training.lr_schedule.per == "round":
        return optimizer
    return Scheduled(optimizer, lambda: training.step_rates(num_steps()))


def _optimizer(training: TrainingConfig, lr: float) -> Optimizer:
    if training.optimizer == "sgd":
        return SGD(lr, training.momentum, training.weight_decay)
    return Adam(lr, training.weight_decay, decoupled=training.optimizer == "adamw")


@final
class Scheduled:
    """An optimiser whose learning rate changes from step to step. Steps after the last rate keep the last rate."""

    def __init__(self, inner: Optimizer, rates: Callable[[], Sequence[float]]) -> None:
        """`rates` are read at the first step: a task that takes no step need not know its number of steps."""
        self.lr = inner.lr
        self._inner, self._read = inner, rates
        self._rates: Sequence[float] = ()
        self._num_steps = 0

    def step(self, values: Tensor, grad: Tensor) -> None:
        """See Optimizer."""
        self._rates = self._rates or self._read()
        self.lr = self._inner.lr = self._rates[min(self._num_steps, len(self._rates) - 1)]
        self._num_steps += 1
        self._inner.step(values, grad)

    def forget(self, entries: Tensor) -> None:
        """See Optimizer."""
        self._inner.forget(entries)


@final
class SGD:
    """Stochastic gradient descent with momentum (no dampening) and L2 decay."""

    def __init__(self, lr: float, momentum: float, weight_decay: float) -> None:
        self.lr, self._momentum, self._weight_decay = lr, momentum, weight_decay
        self._velocity: Tensor | None = None

    def step(self, values: Tensor, grad: Tensor) -> None:
        """See Optimizer."""
        if self._weight_decay:
            grad.add_(values, alpha=self._weight_decay)
        if self._momentum:
            if self._velocity is None:
                self._velocity = grad.clone()
            else:
                self._velocity.mul_(self._momentum).add_(grad)
            grad = self._velocity
        values.add_(grad, alpha=-self.lr)

    def forget(self, entries: Tensor) -> None:
        """See Optimizer."""
        if self._velocity is not None:
            self._velocity[entries] = 0


@final
class Adam:
    """Adam (Kingma and Ba, arXiv 1412.6980), or AdamW with `decoupled` decay (arXiv 1711.05101)."""

    def __init__(self, lr: float, weight_decay: float, *, decoupled: bool) -> None:
        self.lr, self._weight_decay, self._decoupled = lr, weight_decay, decoupled
        self._moments: tuple[Tensor, Tensor] | None = None
        self._num_steps = 0

    def step(self, values: Tensor, grad: Tensor) -> None:
        """See Optimizer."""
        if self._decoupled:
            values.mul_(1.0 - self.lr * self._weight_decay)
        elif self._weight_decay:
            grad.add_(values, alpha=self._weight_decay)
        if self._moments is None:
            self._moments = torch.zeros_like(values), torch.zeros_like(values)
        mean, square = self._moments
        self._num_steps += 1
        mean.lerp_(grad, 1.0 - _BETA_1)
        square.mul_(_BETA_2).addcmul_(grad, grad, value=1.0 - _BETA_2)
        step_size = self.lr / (1.0 - _BETA_1**self._num_steps)
        scale = (1.0 - _BETA_2**self._num_steps) ** 0.5
        values.addcdiv_(mean, (square.sqrt() / scale).add_(_EPSILON), value=-step_size)

    def forget(self, entries: Tensor) -> None:
        """See Optimizer."""
        for moment in self._moments or ():
            moment[entries] = 0
