"""One client's task in progress: the model in training, its mask, its gradients and its costs.

Every task builds a new `LocalRun`. The run re-applies the mask after each step, owns the optimiser and counts FLOPs,
so that no method can forget to.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.errors import ConfigError
from orchestrator.federation import tree
from orchestrator.federation.evaluate import Predictions, predict
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.federation.local.environment import Batch, ClientEnvironment, TrainingData
from orchestrator.federation.local.flops import FlopCounter
from orchestrator.federation.local.optimizers import make_optimizer
from orchestrator.federation.local.statistics import TrainingStatistics
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.federation.setting import Setting
from orchestrator.fleet.clock import client_time
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.replica import replica
from orchestrator.models.units.submodel import KeptUnits, submodel_index
from orchestrator.sparsity.payload import Payload

C = TypeVar("C")
X = TypeVar("X")
#: (logits float32[B, classes], labels int64[B]) -> scalar
Loss = Callable[[Tensor, Tensor], Tensor]


class LocalRun(Generic[C]):
    """One client's task in progress.

    The model in training is the full model, or a submodel after `load_submodel`:

    - `values` float32[D] and `grad` float32[T] are its flat buffers, and `layout` lays them out;
    - `mask` bool[D] says which entries the client may use; None: all of them;
    - `index` int64[D] says where the entries of a submodel stand in the full vector; None: the full model;
    - `kept` are the units of a submodel by group.

    `received` is the model that came with the task, in full coordinates, and `payload` everything that came. `state`
    is what the client keeps between its tasks: a hook that changes the state assigns a new value. `flops` and
    `statistics` count what the task does; `metrics` go to the driver with the update.
    """

    def __init__(
        self,
        *,
        setting: Setting,
        task: ClientTask,
        environment: ClientEnvironment,
        received: ModelValues | None,
        payload: Payload,
        state: C,
    ) -> None:
        self.setting, self.task, self.environment = setting, task, environment
        self.received, self.payload, self.state = received, payload, state
        self.optimizer = make_optimizer(setting.training, task.round_idx, self.planned_steps)
        self.flops = FlopCounter(setting.cost)
        self.metrics: dict[str, float] = {}
        self.last_batch: Batch | None = None
        self.trained_models: set[FlatModule] = set()
        self.mask: Tensor | None = None
        self._scratch: dict[type, object] = {}
        self._keep: Tensor | None = None
        self._bind(environment.full)
        self.statistics = TrainingStatistics()

    # What the task works with

    @cached_property
    def data(self) -> TrainingData:
        """The client's training samples."""
        return self.environment.training_data(self.task.client_id)

    @cached_property
    def start(self) -> Tensor:
        """float32[D]: the received model. Raises ValueError for a task without a model."""
        if self.received is None:
            raise ValueError("this task came without a model")
        return self.received.values.to(self.environment.full.values.device)

    @property
    def num_batches(self) -> int:
        """Mini-batches of an epoch, which is the number of optimiser steps."""
        return len(batch_sizes(len(self.data), self.setting.training, self.setting.smallest_batch))

    def put_scratch(self, value: object) -> None:
        """Store an object of a method's own class until the task ends, in place of an earlier object of this class."""
        self._scratch[type(value)] = value

    def scratch(self, kind: type[X]) -> X:
        """The object of this class that `put_scratch` stored. Raises LookupError when there is none."""
        found = self._scratch.get(kind)
        if not isinstance(found, kind):
            raise LookupError(f"no hook has put a {kind.__name__} into this task's scratch")
        return found

    # The model in training

    def load(self, values: Tensor, mask: Tensor | None) -> None:
        """Load a float32[D] vector into the full model under a bool[D] mask (None: all entries)."""
        self._bind(self.environment.full)
        self.flat.load(values)
        self.set_mask(mask)

    def load_submodel(self, values: Tensor, kept: KeptUnits) -> None:
        """Load the units `kept` of a full float32[D] vector into a smaller dense model."""
        groups, layout = self.setting.units, self.setting.layout
        index = submodel_index(layout, groups, kept)
        self._bind(self._submodel(kept), index, kept)
        self.flat.load(values[index.to(values.device)])
        self.flat.module.train()
        self.set_mask(None)

    def own_module(self) -> nn.Module:
        """Replace the loaded model by a copy for this task alone, which may carry hooks; returns the copy.

        Call before a mask is set.
        """
        assert self.mask is None
        copied = replica(self.flat.module)
        flat = FlatModule(copied, self.values.device, self.layout, self.flat.memory_format)
        self._bind(flat, self.index, self.kept)
        return self.flat.module

    def set_mask(self, mask: Tensor | None) -> None:
        """Zero the weights outside a bool[D] mask, now and after every later step; None: no mask."""
        self.mask = mask
        is_masked = mask is not None and not bool(mask.all())
        self.flops.set_mask(self.layout, mask if is_masked else None)
        self._keep = None
        if mask is not None and is_masked:
            keep = mask.to(self.values.device, torch.float32)
            self.values.mul_(keep)
            self._keep = keep[: self.layout.num_trainable]

    @property
    def step_mask(self) -> Tensor | None:
        """float32[T]: 1 where a step may change the model, 0 elsewhere; None: it may change all entries."""
        return self._keep

    def in_full_coordinates(self) -> ModelValues:
        """The loaded model as float32[D] values of the full model, and the bool[D] entries that it has."""
        if self.index is None:
            return ModelValues(self.values.detach().clone(), self.mask)
        values = torch.zeros(self.setting.layout.size)
        mask = torch.zeros(self.setting.layout.size, dtype=torch.bool)
        values[self.index] = self.values.detach().cpu()
        mask[self.index] = True if self.mask is None else self.mask
        return ModelValues(values, mask)

    def _bind(self, flat: FlatModule, index: Tensor | None = None, kept: KeptUnits | None = None) -> None:
        self.flat, self.index = flat, index
        self.kept: KeptUnits = kept or {}
        self.layout: ParameterLayout = flat.layout
        self.values, self.grad = flat.values, flat.grad
        self._positions: dict[tuple[tuple[str, bytes], ...], Tensor] = {}
        self.flops.load_model(None if index is None else flat.layout, self._num_removed(self.kept))

    def _num_removed(self, kept: KeptUnits) -> dict[str, int]:
        """Number of units outside `kept`, by group."""
        return {g.name: g.num_units - len(kept[g.name]) for g in self.setting.units if g.name in kept}

    def _submodel(self, kept: KeptUnits) -> FlatModule:
        return self.environment.submodel({name: len(units) for name, units in kept.items()})

    # Gradients

    def backward(self, batch: Batch, loss: Loss = cross_entropy) -> None:
        """Leave the loss gradient of a batch in `grad`, for all entries, masked ones included."""
        self._backward(self.flat, None, batch, loss)

    def backward_submodel(self, batch: Batch, kept: KeptUnits, loss: Loss = cross_entropy) -> None:
        """Leave the loss gradient of a smaller submodel in `grad`; entries outside the smaller submodel are 0.

        `kept` are units of the full model, and the submodel in training has all of them. The running statistics of
        the smaller submodel are copied back. The call costs a step of the smaller submodel.
        """
        if {name: len(units) for name, units in kept.items()} == {n: len(u) for n, u in self.kept.items()}:
            self.backward(batch, loss)
            return
        smaller = self._submodel(kept)
        positions, num_trainable = self._positions_of(kept), smaller.layout.num_trainable
        smaller.load(self.values[positions])
        smaller.module.train()
        step_flops = self.flops.of_submodel(smaller.layout, self._num_removed(kept))
        self._backward(smaller, step_flops, batch, loss)
        self.grad.zero_()
        self.grad[positions[:num_trainable]] = smaller.grad
        self.values[positions[num_trainable:]] = smaller.values[num_trainable:]

    def _backward(self, flat: FlatModule, step_flops: float | None, batch: Batch, loss: Loss) -> None:
        inputs, labels = batch
        self.trained_models.add(flat)
        flat.grad.zero_()
        logits = flat(inputs)
        value = loss(logits, labels)
        value.backward()  # type: ignore[no-untyped-call]
        self.statistics.add(value, logits, labels)
        self.flops.add_steps(len(labels), step_flops)

    def _positions_of(self, kept: KeptUnits) -> Tensor:
        """int64: positions in `values` of a smaller submodel's entries, cached while one submodel trains."""
        assert self.index is not None
        key = tuple((name, units.numpy().tobytes()) for name, units in kept.items())
        if key not in self._positions:
            inverse = torch.full((self.setting.layout.size,), -1)
            inverse[self.index] = torch.arange(self.index.numel())
            positions = inverse[submodel_index(self.setting.layout, self.setting.units, kept)]
            assert bool((positions >= 0).all()), "the submodel in training does not have some of these units"
            self._positions[key] = positions.to(self.values.device)
        return self._positions[key]

    def dense_gradient(self, batch: Batch, *, training: bool = True) -> Tensor:
        """float32[T]: cross-entropy gradient of all weights at the current values, masked weights included.

        `training` selects train mode or evaluation mode. The gradient is no step and counts towards no loss.
        """
        self.flops.add_dense_gradient(len(batch[1]))
        before = self.flat.module.training
        self.flat.module.train(training)
        gradient = _gradient(self.flat, batch)
        self.flat.module.train(before)
        return gradient

    def sampled_gradients(self, purpose: str, num_batches: int, *, training: bool = True) -> Iterator[Tensor]:
        """`dense_gradient` of `num_batches` random mini-batches, each the first of a new order.

        The orders are those of `batches` for this purpose, new ones even without `training.reshuffle`.
        """
        for epoch in self.batches(purpose, num_batches, repeats=False):
            yield self.dense_gradient(next(epoch), training=training)

    def add_proximal_gradient(self, mu: float) -> None:
        """Add mu (w - w_received), the gradient of FedProx's proximal term, to `grad`."""
        if mu:
            start = self.start if self.index is None else self.start[self.index]
            num_trainable = self.grad.numel()
            self.grad.add_(self.values[:num_trainable] - start[:num_trainable], alpha=mu)

    # Steps

    def apply_gradient(self) -> None:
        """Mask `grad`, clip its norm, take one optimiser step, and mask the weights again."""
        if self._keep is not None:
            self.grad.mul_(self._keep)
        if (limit := self.setting.training.clip_norm) is not None:
            norm = torch.linalg.vector_norm(self.grad)
            self.grad.mul_(torch.clamp(limit / (norm + 1e-6), max=1.0))
        trained = self.values[: self.grad.numel()]
        self.optimizer.step(trained, self.grad)
        if self._keep is not None:
            trained.mul_(self._keep)

    def reset_moments(self, changed: Tensor) -> None:
        """Zero the optimiser's state where the bool[D] mask `changed` is True."""
        self.optimizer.forget(changed[: self.grad.numel()].to(self.values.device))

    def reset_optimizer(self, round_idx: int | None = None) -> None:
        """Start a new optimiser, with the learning rate of the task's round or of the round given.

        A schedule over local steps restarts too.
        """
        round_idx = self.task.round_idx if round_idx is None else round_idx
        self.optimizer = make_optimizer(self.setting.training, round_idx, self.planned_steps)

    def planned_steps(self) -> int:
        """Optimiser steps of the local epochs of the task."""
        return self.setting.training.local_epochs * self.num_batches

    # Samples and checks

    def batches(
        self, purpose: str = "batches", epochs: int | None = None, *, repeats: bool = True
    ) -> Iterator[Iterator[Batch]]:
        """The mini-batches of each epoch; `epochs` None: `training.local_epochs`.

        Each purpose has a random order of its own. Without `training.reshuffle`, a client trains on the same batches
        in every epoch of the run. `repeats=False` is for a pass that measures and does not train: each of its epochs
        has a new order in any case, so that several mini-batches are different ones.
        """
        training = self.setting.training
        for rng in self._orders(purpose, training.local_epochs if epochs is None else epochs, repeats):
            inputs, labels = self.data.epoch(rng)
            sizes = batch_sizes(len(labels), training, self.setting.smallest_batch)
            used = sum(sizes)
            yield zip(torch.split(inputs[:used], sizes), torch.split(labels[:used], sizes), strict=True)

    def _orders(self, purpose: str, epochs: int, repeats: bool) -> Iterator[np.random.Generator]:
        """The generator from which each epoch's order comes."""
        seed, task = self.setting.seed, self.task
        rng = stream(seed, *task.stream_path, purpose)
        # a client is probed once, so the first order of a probe may be the fixed one; later orders follow from it
        has_fixed = not self.setting.training.reshuffle and (repeats or task.kind == "probe")
        for epoch_idx in range(epochs):
            if has_fixed and (repeats or epoch_idx == 0):
                rng = stream(seed, "client", task.client_id, "fixed-batches")
            yield rng

    def validation_accuracy(self) -> float:
        """Accuracy of the loaded model on the client's validation samples, at the cost of a forward pass.

        Raises ConfigError for a client without validation samples.
        """
        return float(self._validate().correct.mean())

    def validation_loss(self) -> float:
        """Mean cross-entropy of the loaded model on the client's validation samples, at the cost of a forward pass.

        Raises ConfigError for a client without validation samples.
        """
        return float(self._validate().loss.mean())

    def _validate(self) -> Predictions:
        batch = self.environment.validation_batch(self.task.client_id)
        if not len(batch[1]):
            raise ConfigError(
                "data.validation_fraction",
                0,
                f"client {self.task.client_id} has no validation sample, and the method needs its validation accuracy",
                "raise data.validation_fraction, or give clients more samples",
            )
        self.flops.add_forward(len(batch[1]))
        return predict(self.flat, *batch)

    def emulated_s(self) -> float:
        """Emulated seconds of the work so far, and of messages with the loaded model's float32 values, both ways."""
        model_bytes = 4 * self.values.numel()
        return client_time(
            self.setting.profile_of(self.task.client_id, self.task.round_idx),
            download_bytes=model_bytes,
            train_flops=self.flops.total,
            unmasked_flops=self.flops.total_unmasked,
            upload_bytes=model_bytes,
        ).total_s

    def require_finite(self) -> None:
        """Raises FloatingPointError if the model or the client's state contains NaN or infinity."""
        kept = (leaf for _, leaf in tree.flatten(self.state) if isinstance(leaf, Tensor))
        trained, statistics = self.values[: self.grad.numel()], self.values[self.grad.numel() :]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (trained, *kept)):
            raise FloatingPointError(
                "the trained values are not finite; lower training.lr or the method's own rate, or set clip_norm"
            )
        if not bool(torch.isfinite(statistics).all()):
            views = self.layout.views(self.values)
            name = next(name for name, view in views.items() if not bool(torch.isfinite(view).all()))
            raise FloatingPointError(
                f"buffer {name}, which the server averages, is not finite; if it is no statistic, register it with "
                "persistent=False; if the activations overflow, lower training.lr"
            )


def _gradient(flat: FlatModule, batch: Batch) -> Tensor:
    inputs, labels = batch
    flat.grad.zero_()
    with flat.preserved_buffers():
        cross_entropy(flat(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return flat.grad.clone()
