"""Per-FedAvg: clients learn a common initial model that each client adapts with a few gradient steps.

The server learns a model from which one gradient step gives a good model for each client. With independent batches
B, B' and B'', a local step computes u = w - alpha grad f(w; B) and g = grad f(u; B'), and steps along

- `first_order`: g;
- `hessian_free`: g - alpha (grad f(w + delta g; B'') - grad f(w - delta g; B'')) / (2 delta).

A client uses the model after `adaptation_steps` gradient steps with alpha on its own samples.

Symbols: alpha = algorithm.inner_lr, beta = training.lr, delta = algorithm.delta.

Deviations: the step along the meta-gradient is one of the configured optimiser. B comes from the epoch's batches, and
B' and B'' from random orders of their own, so that an epoch takes as many steps as FedAvg's and reads more samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    Batch,
    Capabilities,
    LocalRun,
    ServerState,
    Traits,
)


class PerFedAvgConfig(AlgorithmConfig):
    """Options of Per-FedAvg."""

    inner_lr: float = Field(0.01, ge=0.0, description="alpha, rate of a client's adaptation; 0: FedAvg on B'")
    meta_gradient: Literal["first_order", "hessian_free"] = Field(
        "first_order", description="first_order ignores the Hessian; hessian_free uses a finite difference"
    )
    delta: float = Field(1e-3, gt=0.0, description="length factor of the finite difference (hessian_free)")
    adaptation_steps: int = Field(1, ge=0, description="gradient steps of a client before it uses the model")


@dataclass(eq=False)
class MetaBatches:
    """The endless mini-batches of B' and B'' of one task."""

    query: Iterator[Batch]
    curvature: Iterator[Batch]


@final
class PerFedAvg(Algorithm[ServerState, None]):
    """FedAvg of a model from which clients adapt in one step."""

    Config: ClassVar[type[AlgorithmConfig]] = PerFedAvgConfig
    config: PerFedAvgConfig
    traits: ClassVar[Traits] = Traits(personal=True, citations=(references.PERFEDAVG,))
    capabilities: ClassVar[Capabilities] = Capabilities(steady_cost=True)

    def on_train_start(self, run: LocalRun[None]) -> None:
        """Open the random orders of B' and B''."""
        epochs = self.setting.training.local_epochs
        query, curvature = (
            (batch for epoch in run.batches(purpose, epochs, repeats=False) for batch in epoch)
            for purpose in ("query", "curvature")
        )
        run.put_scratch(MetaBatches(query, curvature))

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        """One step along the meta-gradient."""
        batches = run.scratch(MetaBatches)
        trained = run.values[: run.grad.numel()]
        start = trained.clone()
        trained.sub_(run.dense_gradient(batch), alpha=self.config.inner_lr)
        run.backward(next(batches.query))
        trained.copy_(start)
        if self.config.meta_gradient == "hessian_free":
            gradient = run.grad.clone()
            curvature = self.curvature(run, start, gradient, next(batches.curvature))
            run.grad.copy_(gradient.sub_(curvature, alpha=self.config.inner_lr))
        run.apply_gradient()

    def curvature(self, run: LocalRun[None], start: Tensor, direction: Tensor, batch: Batch) -> Tensor:
        """float32[T]: the Hessian at `start` times `direction`, by a central difference."""
        delta, trained = self.config.delta, run.values[: run.grad.numel()]
        trained.copy_(start).add_(direction, alpha=delta)
        ahead = run.dense_gradient(batch)
        trained.copy_(start).sub_(direction, alpha=delta)
        behind = run.dense_gradient(batch)
        trained.copy_(start)
        return (ahead - behind) / (2.0 * delta)

    def personal(self, run: LocalRun[None]) -> None:
        """Load the received model and adapt it on the client's samples."""
        self.load(run)
        trained = run.values[: run.grad.numel()]
        for gradient in run.sampled_gradients("adaptation", self.config.adaptation_steps):
            trained.sub_(gradient, alpha=self.config.inner_lr)
