"""The local engine: what one client does between receiving a model and packing its update.

`LocalRun` is everything one task may touch, built anew for each task; `train` runs the epochs and calls the
method's hooks. The engine alone re-applies the mask after every step, owns the optimiser and counts FLOPs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.config import SparsityConfig, TrainingConfig
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.optimizers import make_optimizer
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.models.cost import ModelCost
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.sparsity.payload import Payload

C = TypeVar("C")
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The frozen surroundings of a run that server and client hooks may read."""

    layout: ParameterLayout
    cost: ModelCost
    training: TrainingConfig
    sparsity: SparsityConfig
    num_clients: int
    seed: int


class TrainingData(Protocol):
    """A client's training images, as the engine sees them."""

    def __len__(self) -> int:
        """Number of images."""

    def epoch(self, rng: np.random.Generator) -> Batch:
        """All images float32[n, C, H, W] and labels int64[n] in a fresh random order."""


class LocalHooks(Protocol[C]):
    """The places in local training that a method may fill."""

    def step(self, run: "LocalRun[C]", batch: Batch) -> None:
        """One optimiser step on one mini-batch."""

    def on_epoch(self, run: "LocalRun[C]", epochs_done: int) -> None:
        """Called after each local epoch; `epochs_done` counts from 1."""


class LocalRun(Generic[C]):
    """One client's task in progress.

    `values` (float32[D]) and `grad` (float32[T]) are the model's flat buffers, `start` (float32[D]) the model
    as received, `mask` (bool[D]) what the client may use, None for everything. `state` is what the client
    keeps between its participations; a hook that changes it assigns a new value.
    """

    def __init__(
        self,
        *,
        setting: Setting,
        task: ClientTask,
        flat: FlatModule,
        received: ModelValues,
        payload: Payload,
        data: TrainingData,
        state: C,
    ) -> None:
        self.setting, self.task, self.flat = setting, task, flat
        self.payload, self.data, self.state = payload, data, state
        self.start, self.received_mask = received.values.to(flat.values.device), received.mask
        self.values, self.grad = flat.values, flat.grad
        self.optimizer = make_optimizer(setting.training, task.round_idx)
        self.train_flops = 0.0
        self.train_flops_dense = 0.0
        self.last_batch: Batch | None = None
        self.metrics: dict[str, float] = {}
        self._loss_sum = torch.zeros((), device=flat.values.device)
        self._num_seen = 0
        self.mask: Tensor | None = None
        self._keep: Tensor | None = None
        self._dense_flops = setting.cost.training_flops(None)
        self._sparse_flops = self._dense_flops

    def load(self, values: Tensor, mask: Tensor | None) -> None:
        """Start from a float32[D] vector under a bool[D] mask (None: all entries)."""
        self.flat.load(values)
        self.set_mask(mask)

    def set_mask(self, mask: Tensor | None) -> None:
        """Install a bool[D] mask: zero the weights outside it, and from now on hold every step to it."""
        self.mask = mask
        layout, cost = self.setting.layout, self.setting.cost
        if mask is None or bool(mask.all()):
            self._keep, self._sparse_flops = None, self._dense_flops
            return
        keep = mask.to(self.values.device, torch.float32)
        self.values.mul_(keep)
        self._keep = keep[: layout.num_trainable]
        self._sparse_flops = cost.training_flops(layout.active(mask))

    def backward(self, batch: Batch) -> None:
        """Leave the cross-entropy gradient of a batch in `grad`, for all entries, masked ones included."""
        images, labels = batch
        self.grad.zero_()
        loss = cross_entropy(self.flat.module(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._loss_sum += loss.detach() * len(labels)
        self._num_seen += len(labels)
        self.train_flops += self._sparse_flops * len(labels)
        self.train_flops_dense += self._dense_flops * len(labels)

    def dense_gradient(self, batch: Batch) -> Tensor:
        """float32[T]: gradient of the plain cross-entropy for all weights, masked ones included.

        Evaluated in train mode at the current weights. Costs one forward pass at the mask's density and a
        dense backward pass (FedRTS's accounting of FedDST); it is no step and counts towards no loss.
        """
        images, labels = batch
        self.grad.zero_()
        with self.flat.untouched_buffers():
            cross_entropy(self.flat.module(images), labels).backward()  # type: ignore[no-untyped-call]
        gradient = self.grad.clone()
        self.train_flops += len(labels) * (self._sparse_flops + 2 * self._dense_flops) / 3
        self.train_flops_dense += len(labels) * self._dense_flops
        return gradient

    def apply_gradient(self) -> None:
        """One optimiser step with `grad` held to the mask, then the weights held to it."""
        if self._keep is not None:
            self.grad.mul_(self._keep)
        if (limit := self.setting.training.clip_norm) is not None:
            norm = torch.linalg.vector_norm(self.grad)
            self.grad.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))
        trained = self.values[: self.grad.numel()]
        self.optimizer.step(trained, self.grad)
        if self._keep is not None:
            trained.mul_(self._keep)

    def pull_to_start(self, mu: float) -> None:
        """Add the gradient mu (w - w_r) of a proximal term around the received model to `grad`."""
        if mu:
            num_trainable = self.grad.numel()
            self.grad.add_(self.values[:num_trainable] - self.start[:num_trainable], alpha=mu)

    def forget_moments(self, changed: Tensor) -> None:
        """Zero the optimiser's state where bool[D] `changed` is True."""
        self.optimizer.forget(changed[: self.grad.numel()].to(self.values.device))

    def mean_loss(self) -> float:
        """Mean training loss over all images seen in this task."""
        return float(self._loss_sum) / max(1, self._num_seen)

    def batches(self) -> Iterator[Iterator[Batch]]:
        """The mini-batches of each local epoch in turn."""
        training, task = self.setting.training, self.task
        rng = stream(self.setting.seed, "client", task.round_idx, task.client_id, "batches")
        for _ in range(training.local_epochs):
            if not training.reshuffle:
                rng = stream(self.setting.seed, "client", task.client_id, "fixed-batches")
            images, labels = self.data.epoch(rng)
            size = training.batch_size
            yield zip(torch.split(images, size), torch.split(labels, size), strict=True)


def train(run: LocalRun[C], hooks: LocalHooks[C]) -> None:
    """All local epochs of one task."""
    run.flat.module.train()
    for epochs_done, epoch in enumerate(run.batches(), start=1):
        for batch in epoch:
            hooks.step(run, batch)
            run.last_batch = batch
        hooks.on_epoch(run, epochs_done)
    run.metrics["loss"] = run.mean_loss()
