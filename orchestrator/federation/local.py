"""The local engine: what one client does between receiving a model and packing its update.

`LocalRun` is everything one task may touch, built anew for each task; `train` runs the epochs and calls the
method's hooks. The engine alone re-applies the mask after every step, owns the optimiser and counts FLOPs.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.errors import ConfigError
from orchestrator.federation import tree
from orchestrator.federation.batches import batch_sizes
from orchestrator.federation.evaluate import accuracy
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.optimizers import make_optimizer
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.federation.setting import Setting
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.replica import replica
from orchestrator.models.units.submodel import KeptUnits, submodel_index
from orchestrator.sparsity.payload import Payload

C = TypeVar("C")
Batch = tuple[Tensor, Tensor]
#: (logits float32[B, classes], labels int64[B]) -> scalar
Loss = Callable[[Tensor, Tensor], Tensor]


class TrainingData(Protocol):
    """A client's training samples, as the engine sees them."""

    @property
    def labels(self) -> Tensor:
        """int64[n], in no particular order."""

    def __len__(self) -> int:
        """Number of samples."""

    def epoch(self, rng: np.random.Generator) -> Batch:
        """All inputs [n, ...] and labels int64[n] in a fresh random order."""


class LocalHooks(Protocol[C]):
    """The places in local training that a method may fill."""

    def step(self, run: "LocalRun[C]", batch: Batch) -> None:
        """One optimiser step on one mini-batch."""

    def on_batch(self, run: "LocalRun[C]", batches_done: int) -> None:
        """Called after each step; `batches_done` counts from 1 in every epoch, up to `run.num_batches`."""

    def on_epoch(self, run: "LocalRun[C]", epochs_done: int) -> None:
        """Called after each local epoch; `epochs_done` counts from 1."""


class ClientEnvironment(Protocol):
    """What the machine lends to a task: modules, which are costly to build, and samples."""

    @property
    def full(self) -> FlatModule:
        """The whole model; one object, whatever is loaded into it."""

    def narrow(self, num_kept: Mapping[str, int]) -> FlatModule:
        """A smaller model with so many units in each group; its values are arbitrary."""

    def training_data(self, client_id: int) -> TrainingData:
        """The client's training samples."""

    def validation_batch(self, client_id: int) -> Batch:
        """All of the client's validation samples, in order; there may be none."""


class LocalRun(Generic[C]):
    """One client's task in progress.

    `values` (float32[D]) and `grad` (float32[T]) are the flat buffers of the model in training, which `layout`
    lays out: the full model, or after `load_submodel` a smaller one, whose entries stand at `index` (int64) in
    the full vector and whose units are `kept`. `mask` (bool, None for everything) is what the client may use of
    it. `received` is the model that came with the task, in full coordinates. `state` is what the client keeps
    between its participations; a hook that changes it assigns a new value. `scratch` is for what a method
    remembers within the task; `trained` are the models that a gradient was taken of.
    """

    def __init__(
        self,
        *,
        setting: Setting,
        task: ClientTask,
        host: ClientEnvironment,
        received: ModelValues | None,
        payload: Payload,
        state: C,
    ) -> None:
        self.setting, self.task, self.host = setting, task, host
        self.payload, self.state = payload, state
        self.received = received
        self.optimizer = make_optimizer(setting.training, task.round_idx)
        self.train_flops = 0.0
        self.train_flops_dense = 0.0
        self.last_batch: Batch | None = None
        self.metrics: dict[str, float] = {}
        self.trained: set[FlatModule] = set()
        self.mask: Tensor | None = None
        self.index: Tensor | None = None
        self.kept: KeptUnits = {}
        self.scratch: dict[str, Tensor] = {}
        self._keep: Tensor | None = None
        self._dense_flops = setting.cost.training_flops(None)
        self._bind(host.full)
        self._loss_sum = torch.zeros((), device=self.values.device)
        self._num_correct = torch.zeros((), dtype=torch.int64, device=self.values.device)
        self._num_seen = 0

    @cached_property
    def data(self) -> TrainingData:
        """The client's training samples."""
        return self.host.training_data(self.task.client_id)

    @property
    def num_batches(self) -> int:
        """Mini-batches, and thus steps, of an epoch."""
        return batches_of(len(self.data), self.setting.training.batch_size)

    @cached_property
    def start(self) -> Tensor:
        """float32[D]: the received model. Raises ValueError where the method sends none."""
        if self.received is None:
            raise ValueError("this task came without a model")
        return self.received.values.to(self.host.full.values.device)

    def load(self, values: Tensor, mask: Tensor | None) -> None:
        """Start from a float32[D] vector of the full model under a bool[D] mask (None: all entries)."""
        self._bind(self.host.full)
        self.kept = {}
        self.flat.load(values)
        self.set_mask(mask)

    def load_submodel(self, values: Tensor, kept: KeptUnits) -> None:
        """Start from the units `kept` of a float32[D] vector, as a smaller dense model."""
        groups, layout = self.setting.units, self.setting.layout
        index = submodel_index(layout, groups, kept)
        self._bind(self.host.narrow({name: len(units) for name, units in kept.items()}), index)
        self.flat.load(values[index.to(values.device)])
        self.flat.module.train()
        self.kept = kept
        self.set_mask(None)

    def own_module(self) -> nn.Module:
        """Go on with a copy of the loaded model that no other task sees, so that it may carry hooks.

        To be called before a mask is set.
        """
        assert self.mask is None
        copied = replica(self.flat.module)
        self._bind(FlatModule(copied, self.values.device, self.layout), self.index)
        return self.flat.module

    def _bind(self, flat: FlatModule, index: Tensor | None = None) -> None:
        self.flat, self.index = flat, index
        self.layout: ParameterLayout = flat.layout
        self.values, self.grad = flat.values, flat.grad
        self._places: dict[tuple[tuple[str, bytes], ...], Tensor] = {}
        self._whole_flops = self._dense_flops if index is None else self._flops_of(flat.layout)
        self._sparse_flops = self._whole_flops

    def set_mask(self, mask: Tensor | None) -> None:
        """Install a mask over `values`: zero the weights outside it, and from now on hold every step to it."""
        self.mask = mask
        if mask is None or bool(mask.all()):
            self._keep, self._sparse_flops = None, self._whole_flops
            return
        keep = mask.to(self.values.device, torch.float32)
        self.values.mul_(keep)
        self._keep = keep[: self.layout.num_trainable]
        self.count_flops_of(mask)

    @property
    def forward_flops(self) -> float:
        """Operations of one sample's forward pass through the model in hand."""
        return self._sparse_flops / 3.0

    def count_flops_of(self, mask: Tensor) -> None:
        """From now on count a step at this mask's density, for a method that masks by itself."""
        self._sparse_flops = self.setting.cost.training_flops(self.layout.active(mask))

    def in_full(self) -> ModelValues:
        """The present model in full coordinates: float32[D] values, and the bool[D] entries it has."""
        if self.index is None:
            return ModelValues(self.values.detach().clone(), self.mask)
        values = torch.zeros(self.setting.layout.size)
        mask = torch.zeros(self.setting.layout.size, dtype=torch.bool)
        values[self.index] = self.values.detach().cpu()
        mask[self.index] = True if self.mask is None else self.mask
        return ModelValues(values, mask)

    def backward(self, batch: Batch, loss: Loss = cross_entropy) -> None:
        """Leave the loss gradient of a batch in `grad`, for all entries, masked ones included."""
        self._backward(self.flat, self._sparse_flops, batch, loss)

    def backward_within(self, batch: Batch, kept: KeptUnits, loss: Loss = cross_entropy) -> None:
        """As `backward`, of a smaller model within the submodel in training: `grad` is 0 outside it.

        `kept` are units of the full model, all of which the submodel has. The running statistics that the
        smaller model arrives at become the submodel's. Costs a step of the smaller model.
        """
        if {name: len(units) for name, units in kept.items()} == {n: len(u) for n, u in self.kept.items()}:
            self.backward(batch, loss)
            return
        smaller = self.host.narrow({name: len(units) for name, units in kept.items()})
        places, num_trainable = self._places_of(kept), smaller.layout.num_trainable
        smaller.load(self.values[places])
        smaller.module.train()
        self._backward(smaller, self._flops_of(smaller.layout), batch, loss)
        self.grad.zero_()
        self.grad[places[:num_trainable]] = smaller.grad
        self.values[places[num_trainable:]] = smaller.values[num_trainable:]

    def _backward(self, flat: FlatModule, flops: float, batch: Batch, loss: Loss) -> None:
        inputs, labels = batch
        self.trained.add(flat)
        flat.grad.zero_()
        logits = flat(inputs)
        value = loss(logits, labels)
        value.backward()  # type: ignore[no-untyped-call]
        self._loss_sum += value.detach() * len(labels)
        self._num_correct += (logits.detach().argmax(dim=1) == labels).sum()
        self._num_seen += len(labels)
        self.train_flops += flops * len(labels)
        self.train_flops_dense += self._dense_flops * len(labels)

    def _flops_of(self, layout: ParameterLayout) -> float:
        """FLOPs of a sample's training step in a submodel with this layout."""
        return self.setting.cost.training_flops({s.name: s.size for s in layout.maskable})

    def _places_of(self, kept: KeptUnits) -> Tensor:
        """int64: where the entries of a smaller model stand in `values`; found once while a submodel trains."""
        assert self.index is not None
        key = tuple((name, units.numpy().tobytes()) for name, units in kept.items())
        if key not in self._places:
            positions = torch.full((self.setting.layout.size,), -1)
            positions[self.index] = torch.arange(self.index.numel())
            places = positions[submodel_index(self.setting.layout, self.setting.units, kept)]
            assert bool((places >= 0).all()), "the submodel lacks some of these units"
            self._places[key] = places.to(self.values.device)
        return self._places[key]

    def dense_gradient(self, batch: Batch, *, training: bool = True) -> Tensor:
        """float32[T]: gradient of the plain cross-entropy for all weights, masked ones included.

        Evaluated at the current weights, in train mode or in evaluation mode. Costs one forward pass at the
        mask's density and a dense backward pass (FedRTS's accounting of FedDST); it is no step and counts
        towards no loss.
        """
        self.train_flops += len(batch[1]) * (self._sparse_flops + 2 * self._whole_flops) / 3
        self.train_flops_dense += len(batch[1]) * self._dense_flops
        before = self.flat.module.training
        self.flat.module.train(training)
        gradient = _gradient(self.flat, batch)
        self.flat.module.train(before)
        return gradient

    def sampled_gradients(self, purpose: str, num_batches: int, *, training: bool = True) -> Iterator[Tensor]:
        """`dense_gradient` of so many random mini-batches, each the first one of a fresh order.

        The orders are those of `batches` for this purpose, drawn afresh also without `training.reshuffle`.
        """
        for epoch in self.batches(purpose, num_batches, repeats=False):
            yield self.dense_gradient(next(epoch), training=training)

    def full_gradient(self, values: Tensor, batch: Batch) -> Tensor:
        """float32[T]: gradient of the plain cross-entropy of the full model at float32[D] `values`.

        Costs a dense training step. Only while a submodel is in training, whose values it leaves alone.
        """
        assert self.index is not None
        self.train_flops += len(batch[1]) * self._dense_flops
        self.train_flops_dense += len(batch[1]) * self._dense_flops
        self.trained.add(self.host.full)
        self.host.full.load(values)
        self.host.full.module.train()
        return _gradient(self.host.full, batch)

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
            start = self.start if self.index is None else self.start[self.index]
            num_trainable = self.grad.numel()
            self.grad.add_(self.values[:num_trainable] - start[:num_trainable], alpha=mu)

    def forget_moments(self, changed: Tensor) -> None:
        """Zero the optimiser's state where the mask `changed` is True."""
        self.optimizer.forget(changed[: self.grad.numel()].to(self.values.device))

    def renew_optimizer(self, round_idx: int | None = None) -> None:
        """A fresh optimiser, with the learning rate of this round or of another one."""
        self.optimizer = make_optimizer(
            self.setting.training, self.task.round_idx if round_idx is None else round_idx
        )

    def require_finite(self) -> None:
        """Raises FloatingPointError unless the model and what the client keeps are numbers."""
        kept = (leaf for _, leaf in tree.flatten(self.state) if isinstance(leaf, Tensor))
        trained, statistics = self.values[: self.grad.numel()], self.values[self.grad.numel() :]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (trained, *kept)):
            raise FloatingPointError(
                "what was trained is not finite; lower training.lr or the method's own rate, or set clip_norm"
            )
        if not bool(torch.isfinite(statistics).all()):
            views = self.layout.views(self.values)
            name = next(name for name, view in views.items() if not bool(torch.isfinite(view).all()))
            raise FloatingPointError(
                f"buffer {name}, which the server averages, is not finite; if it is no statistic, register it with "
                "persistent=False; if the activations overflow, lower training.lr"
            )

    def mean_loss(self) -> float:
        """Mean training loss over all samples seen in this task."""
        return float(self._loss_sum) / max(1, self._num_seen)

    def train_accuracy(self) -> float:
        """Share of the training samples that were predicted right when they were seen in this task."""
        return int(self._num_correct) / max(1, self._num_seen)

    def validation_accuracy(self) -> float:
        """Accuracy of the present model on the client's validation part, for a forward pass of its FLOPs.

        Raises ConfigError where the split leaves the client none.
        """
        batch = self.host.validation_batch(self.task.client_id)
        if not len(batch[1]):
            raise ConfigError(
                "data.validation_fraction",
                0,
                f"client {self.task.client_id} has no validation sample, and the method asks for its accuracy on some",
                "raise it, or give clients more samples",
            )
        self.train_flops += len(batch[1]) * self._sparse_flops / 3
        self.train_flops_dense += len(batch[1]) * self._dense_flops / 3
        return accuracy(self.flat, *batch)

    def batches(
        self, purpose: str = "batches", epochs: int | None = None, *, repeats: bool = True
    ) -> Iterator[Iterator[Batch]]:
        """The mini-batches of each of `epochs` epochs in turn (None: training.local_epochs).

        Each purpose has a random order of its own. Without `training.reshuffle`, a client trains on the same
        batches in every epoch of the run. `repeats=False` is for a pass that measures and does not train: each
        of its epochs has a new order in any case, so that several mini-batches are different ones.
        """
        training = self.setting.training
        for rng in self._orders(purpose, training.local_epochs if epochs is None else epochs, repeats):
            inputs, labels = self.data.epoch(rng)
            sizes = batch_sizes(len(labels), training, self.setting.smallest_batch)
            used = sum(sizes)
            yield zip(torch.split(inputs[:used], sizes), torch.split(labels[:used], sizes), strict=True)

    def _orders(self, purpose: str, epochs: int, repeats: bool) -> Iterator[np.random.Generator]:
        """The generator that each epoch's order is drawn from."""
        seed, task = self.setting.seed, self.task
        rng = stream(seed, *task.stream_path, purpose)
        # a client is probed once, so the first order of a probe may be the fixed one; later orders follow from it
        has_fixed = not self.setting.training.reshuffle and (repeats or task.kind == "probe")
        for epoch_idx in range(epochs):
            if has_fixed and (repeats or epoch_idx == 0):
                rng = stream(seed, "client", task.client_id, "fixed-batches")
            yield rng


def batches_of(num_samples: int, batch_size: int) -> int:
    """Mini-batches of an epoch of a client with so many training samples."""
    return -(-num_samples // batch_size)


def train(run: LocalRun[C], hooks: LocalHooks[C]) -> None:
    """All local epochs of one task."""
    run.flat.module.train()
    for epochs_done, epoch in enumerate(run.batches(), start=1):
        for batches_done, batch in enumerate(epoch, start=1):
            hooks.step(run, batch)
            run.last_batch = batch
            hooks.on_batch(run, batches_done)
        hooks.on_epoch(run, epochs_done)
    run.metrics["loss"] = run.mean_loss()


def fine_tune(run: LocalRun[C], epochs: int) -> None:
    """Train the present model on, under its mask, with plain steps at the learning rate of round 0."""
    run.flat.module.train()
    run.renew_optimizer(round_idx=0)
    for epoch in run.batches("fine-tuning", epochs):
        for batch in epoch:
            run.backward(batch)
            run.apply_gradient()
    run.require_finite()


def _gradient(flat: FlatModule, batch: Batch) -> Tensor:
    inputs, labels = batch
    flat.grad.zero_()
    with flat.preserved_buffers():
        cross_entropy(flat(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return flat.grad.clone()
