"""SpaFL: clients train thresholds that switch filters off, and send only the thresholds.

Every filter or neuron has a trained threshold. A client uses the filters whose mean absolute weight exceeds their
threshold. Clients keep their weights and send only thresholds. The server averages the thresholds. When thresholds
rise, every client pulls the weights of these filters towards 0.

Symbols: w_k = client_state.weights, tau = state.thresholds, lambda = algorithm.penalty, gate = [mean |w_filter| - tau >
0], loss = f(w gate) + lambda sum exp(-tau), Delta tau = the change of tau since the client took part,
w <- w - sign(sum w_filter) Delta tau / c with c = the kernel's size, or the inputs of a neuron.

Seen: the abstract and the public code (news-vt/SpaFL_NeruIPS_2024). Not seen: the paper's text.

Deviations:

- A client applies Delta tau when it next takes part or is scored, not in every round. The results differ only where
  sign(sum w_filter) would have changed in between.
- The gate passes its gradient through (factor 1), as in the code for Fashion-MNIST.
- The thresholds take plain gradient steps with the learning rate of the weights; `training.clip_norm` and momentum
  apply to the weights alone.
- Running statistics are personal. The server's weights stay the initial ones, so that `eval/` metrics do not describe
  the method.
- FLOPs are counted as under the gates at the start of a task.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Batch,
    Capabilities,
    ClientTask,
    Dense,
    ItemForm,
    LocalRun,
    ModelValues,
    Payload,
    Segment,
    ServerState,
    Traits,
    find_values,
)

_THRESHOLDS = "thresholds"


class SpaFLConfig(AlgorithmConfig):
    """Options of SpaFL."""

    penalty: float = Field(0.002, ge=0.0, description="lambda, which raises the thresholds")
    least_share: float = Field(
        0.01, ge=0.0, lt=1.0, description="share of open gates up to which a layer's thresholds return to 0"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaFLState(ServerState):
    """Adds tau, float32[F], of all filters in order."""

    thresholds: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class SpaFLClient:
    """State of a client: its weights, float32[D], and the thresholds that it received last, float32[F]."""

    weights: Tensor
    thresholds: Tensor


@dataclass(eq=False)
class GatedTask:
    """Scratch values of a task: the weights float32[D] without gates, and the thresholds float32[F]."""

    weights: Tensor
    thresholds: Tensor


@final
class SpaFL(Algorithm[SpaFLState, SpaFLClient]):
    """Personal models with shared thresholds."""

    Config: ClassVar[type[AlgorithmConfig]] = SpaFLConfig
    config: SpaFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="structured",
        when="learned",
        density="adaptive",
        personal=True,
        payload="thresholds both ways, no weights",
        citations=(references.SPAFL,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities()

    @property
    def num_filters(self) -> int:
        """Filters of all maskable layers, F."""
        return sum(segment.shape[0] for segment in self.setting.layout.maskable)

    def filters(self) -> Iterator[tuple[Segment, slice]]:
        """Each maskable layer with the positions of its filters in a vector of thresholds."""
        start = 0
        for segment in self.setting.layout.maskable:
            yield segment, slice(start, start + segment.shape[0])
            start += segment.shape[0]

    def weight(self, num_examples: int) -> float:
        """All participants count equally."""
        return 1.0

    def init(self, params: Tensor) -> SpaFLState:
        """All thresholds are 0, so that all gates are open."""
        return SpaFLState(params=params, thresholds=torch.zeros(self.num_filters))

    def init_client(self, client_id: int) -> SpaFLClient:
        """Every client starts from the initial model."""
        weights = torch.from_numpy(self.setting.initial.copy())
        return SpaFLClient(weights=weights, thresholds=torch.zeros(self.num_filters))

    def broadcast(self, state: SpaFLState) -> Payload:
        """The thresholds."""
        return (Dense(_THRESHOLDS, state.thresholds.numpy()),)

    def unpack(self, payload: Payload, task: ClientTask, client_state: SpaFLClient) -> ModelValues | None:
        """No message has a model."""
        return None

    def open_gates(self, weights: Tensor, thresholds: Tensor) -> Tensor:
        """bool[D]: the weights of filters whose mean size exceeds their threshold; other entries are True."""
        mask = torch.ones_like(weights, dtype=torch.bool)
        for segment, part in self.filters():
            is_open = weights[segment.slice].view(segment.shape[0], -1).abs().mean(dim=1) > thresholds[part]
            mask[segment.slice].view(segment.shape[0], -1)[:] = is_open[:, None]
        return mask

    def pulled(self, weights: Tensor, change: Tensor) -> Tensor:
        """The weights after a change of the thresholds, float32[F]."""
        result = weights.clone()
        for segment, part in self.filters():
            size = prod(segment.shape[2:]) if len(segment.shape) > 2 else segment.shape[1]
            rows = result[segment.slice].view(segment.shape[0], -1)
            rows -= (rows.sum(dim=1).sign() * change[part] / size)[:, None]
        return result

    def load(self, run: LocalRun[SpaFLClient]) -> None:
        """Load the client's weights, pulled by the change of the thresholds, behind their gates."""
        thresholds = torch.tensor(find_values(run.payload, _THRESHOLDS))
        weights = self.pulled(run.state.weights, thresholds - run.state.thresholds)
        run.load(weights, None)
        run.put_scratch(GatedTask(run.values.clone(), thresholds.to(run.values.device)))
        mask = self.open_gates(weights, thresholds)
        if run.task.kind != "train":
            run.set_mask(mask)
        run.flops.set_mask(run.layout, mask)

    def step(self, run: LocalRun[SpaFLClient], batch: Batch) -> None:
        """One step of weights and thresholds, with the gradient of the model behind its gates."""
        task, training = run.scratch(GatedTask), self.setting.training
        for segment, part in self.filters():
            sizes = task.weights[segment.slice].view(segment.shape[0], -1).abs().mean(dim=1)
            if float((sizes > task.thresholds[part]).float().mean()) <= self.config.least_share:
                task.thresholds[part] = 0.0
        mask, num_trainable = self.open_gates(task.weights, task.thresholds), run.grad.numel()
        run.values[:num_trainable] = (task.weights * mask)[:num_trainable]
        run.backward(batch)
        slope = -self.config.penalty * torch.exp(-task.thresholds)
        for segment, part in self.filters():
            weights = task.weights[segment.slice].view(segment.shape[0], -1)
            gradient = run.grad[segment.slice].view(segment.shape[0], -1)
            gate = (gradient * weights).sum(dim=1)
            slope[part] -= gate
            gradient *= mask[segment.slice].view(segment.shape[0], -1)
            gradient += gate[:, None] * weights.sign() / weights.shape[1]
        run.values[:num_trainable] = task.weights[:num_trainable]
        run.apply_gradient()
        task.weights.copy_(run.values)
        task.thresholds -= training.lr_at(run.task.round_idx) * slope

    def after_train(self, run: LocalRun[SpaFLClient]) -> None:
        """Store the weights, and leave the model behind its gates."""
        task = run.scratch(GatedTask)
        received = torch.tensor(find_values(run.payload, _THRESHOLDS))
        run.state = SpaFLClient(weights=task.weights.cpu().clone(), thresholds=received)
        run.set_mask(self.open_gates(task.weights, task.thresholds).cpu())

    def pack(self, run: LocalRun[SpaFLClient]) -> Payload:
        """The trained thresholds."""
        return (Dense(_THRESHOLDS, run.scratch(GatedTask).thresholds.cpu().numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """One threshold for each filter."""
        return {_THRESHOLDS: ItemForm(kinds=(Dense,), size=self.num_filters)}

    def server_update(self, state: SpaFLState, aggregate: Aggregate, round_idx: int) -> SpaFLState:
        """The mean thresholds."""
        thresholds = aggregate.extras[_THRESHOLDS].to(torch.float32)
        return SpaFLState(params=state.params, thresholds=thresholds)
