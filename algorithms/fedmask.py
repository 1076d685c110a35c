"""FedMask: each client learns a binary mask over frozen weights, and only masks travel.

No weight is ever trained or sent. In its first task a client prunes once: it keeps the units with the largest scores.
From then on it learns which weights of these units it uses. The server takes each bit from the clients whose kept units
contain the weight, so that a bit that no other client has stays the client's own.

Symbols: s = run.scratch(FedMaskScores), one score for each weight; m = (s > 0) = (sigmoid(s) > 1/2), the mask;
o_k = the client state's kept, the units that the client kept; theta_j = (clients with m_j = 1) / (clients whose o_k
contains weight j); the server's bit is theta_j >= 1/2.

We have read the abstract and two public re-implementations, not the text of the paper. The abstract says: fixed
parameters, one bit for each parameter, only masks travel, and personal, structured sparse models. From the
re-implementations come the threshold 1/2 of the sigmoid, one pruning after a first training, and a mean over the masks
that overlap.

Deviations and choices that we made:

- The gradient of a score is that of its bit times sigmoid'(s), the straight-through estimator. Adam trains the scores.
- Every score starts at `initial_score`, so that the first model has all weights.
- A unit is an output row of a weight, and an input column in the last layer. Its score is the sum of its weights'
  scores. Each layer keeps the same share of its units, at least one. The re-implementations prune single weights.
- Where the server's bit differs from the client's own, the score changes its sign and keeps its magnitude.
- A client ignores the server's mask in its first task. Before this task it uses the server's mask for its predictions.
- The server sends one mask to all clients, and an upload has a bit for each weight, also outside the kept units.
- Biases and norm parameters keep their initial values and are always present. Running statistics are sent as values.
- The frozen weights are `gain` times the initial weights. PyTorch's default initial weights are too small for a model
  that can only remove them; the default of `gain` gives them the bound of He et al. for ReLU. On
  the digits, personal accuracy at a level of 0.2 is 93 % after 40 rounds, and 54 % with a gain of 1.
- All layers have masks. FLOPs count all weights of the kept units, because every score needs its gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Adam,
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Batch,
    Bits,
    Capabilities,
    ClientTask,
    Dense,
    ItemForm,
    LocalRun,
    Payload,
    ServerState,
    Traits,
    find_bits,
    find_values,
)

_MASK, _UNITS, _STATISTICS = "mask", "units", "statistics"
#: tolerance when means of bits are compared
_ROUNDING = 1e-9


class FedMaskConfig(AlgorithmConfig):
    """Options of FedMask."""

    score_lr: float = Field(0.1, gt=0.0, description="learning rate of Adam on the scores")
    gain: float = Field(
        round(6**0.5, 3), gt=0.0, description="factor on the initial weights, which are then frozen"
    )
    initial_score: float = Field(1.0, gt=0.0, description="score of every weight before the first task")


@dataclass(frozen=True, kw_only=True, eq=False)
class FedMaskClient:
    """State of a client: float32[W] `scores`, bool[U] `kept` units, and whether it has trained."""

    scores: Tensor
    kept: Tensor
    has_trained: bool = False


@dataclass(frozen=True, eq=False)
class FedMaskScores:
    """float32[W]: the scores in training, changed in place by the optimiser; -inf outside the kept units."""

    values: Tensor


@final
class FedMask(Algorithm[ServerState, FedMaskClient]):
    """Personal binary masks over frozen weights."""

    Config: ClassVar[type[AlgorithmConfig]] = FedMaskConfig
    config: FedMaskConfig
    capabilities: ClassVar[Capabilities] = Capabilities(default_density=0.5, device_densities=True)
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="unstructured",
        when="learned",
        density="per device",
        personal=True,
        payload="mask bits both ways, unit bits up, no weights",
        citations=(references.FEDMASK,),
        related=(references.KAIMING,),
    )

    @property
    def uses_last_layer(self) -> bool:
        """The last layer keeps all of its outputs."""
        return True

    def units(self) -> tuple[Tensor, tuple[int, ...]]:
        """int64[W]: the unit of each weight, numbered over all layers; and the number of units of each layer."""
        segments, parts, sizes = self.setting.layout.maskable, [], list[int]()
        for segment in segments:
            axis = 1 if segment is segments[-1] and len(segment.shape) > 1 else 0
            count, rank = segment.shape[axis], len(segment.shape)
            rows = torch.arange(count).view([-1 if dim == axis else 1 for dim in range(rank)])
            parts.append(rows.expand(segment.shape).reshape(-1) + sum(sizes))
            sizes.append(count)
        return (torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)), tuple(sizes)

    def frozen(self) -> Tensor:
        """float32[D]: the initial values, the weights that have scores times `gain`."""
        values = torch.from_numpy(self.setting.initial.copy())
        for segment in self.setting.layout.maskable:
            values[segment.slice] *= self.config.gain
        return values

    def init(self, params: Tensor) -> ServerState:
        """All frozen weights."""
        return ServerState(params=self.frozen(), mask=self.setting.layout.full_mask())

    def init_client(self, client_id: int) -> FedMaskClient:
        """All weights and all units."""
        scores = torch.full((self.setting.layout.num_maskable,), self.config.initial_score)
        return FedMaskClient(scores=scores, kept=torch.ones(sum(self.units()[1]), dtype=torch.bool))

    def broadcast(self, state: ServerState) -> Payload:
        """The server's mask, and the running statistics if the model has any."""
        assert state.mask is not None
        bits = self.setting.layout.restrict(state.mask).numpy()
        return (Bits(_MASK, bits), *self._statistics(state.params))

    def load(self, run: LocalRun[FedMaskClient]) -> None:
        """The client's own model: its scores, with the server's bits, in its units."""
        layout, client = self.setting.layout, run.state
        bits = torch.tensor(find_bits(run.payload, _MASK))
        kept = client.kept[self.units()[0]]
        scores = torch.where(bits == (client.scores > 0.0), client.scores, -client.scores)
        if run.task.kind == "train" and not client.has_trained:
            scores = client.scores
        values = self.frozen()
        if layout.num_trainable < layout.size:
            values[layout.num_trainable :] = torch.tensor(find_values(run.payload, _STATISTICS))
        run.load(values * layout.expand((scores > 0.0) & kept), layout.expand(kept))
        run.put_scratch(FedMaskScores(torch.where(kept, scores, -torch.inf).to(run.values.device)))

    def on_train_start(self, run: LocalRun[FedMaskClient]) -> None:
        """Adam instead of the configured optimiser, with new moments in each task."""
        run.optimizer = Adam(self.config.score_lr, 0.0, decoupled=False)

    def step(self, run: LocalRun[FedMaskClient], batch: Batch) -> None:
        """One step of the scores: dL/ds = dL/dm sigmoid'(s), with dL/dm = dL/dw w."""
        scores = run.scratch(FedMaskScores).values
        masked, frozen = self._masked(scores.device)
        run.values[masked] = frozen * (scores > 0.0)
        run.backward(batch, partial(self.loss, run))
        probability = torch.sigmoid(scores)
        gradient = run.grad[masked[: run.grad.numel()]] * frozen
        run.optimizer.step(scores, gradient * probability * (1.0 - probability))

    def on_epoch(self, run: LocalRun[FedMaskClient], epochs_done: int) -> None:
        """Prune once, after the first epoch of the client's first task."""
        if run.state.has_trained or epochs_done != 1:
            return
        scores = run.scratch(FedMaskScores).values
        kept = self.kept_units(scores.cpu(), self.density(run.task.round_idx, run.task.client_id))
        run.state = FedMaskClient(scores=run.state.scores, kept=kept)
        inside = kept[self.units()[0]]
        scores[~inside.to(scores.device)] = -torch.inf
        run.set_mask(self.setting.layout.expand(inside))

    def kept_units(self, scores: Tensor, density: float) -> Tensor:
        """bool[U]: in each layer the share `density` of the units with the largest sums of float32[W] scores.

        Each layer keeps at least one unit. Of equal units, those with the smallest index are kept.
        """
        unit_of, sizes = self.units()
        sums = torch.zeros(sum(sizes), dtype=torch.float64).index_add_(0, unit_of, scores.to(torch.float64))
        kept = torch.zeros(sum(sizes), dtype=torch.bool)
        start = 0
        for size in sizes:
            order = torch.sort(sums[start : start + size], descending=True, stable=True).indices
            kept[start + order[: max(1, round(density * size))]] = True
            start += size
        return kept

    def after_train(self, run: LocalRun[FedMaskClient]) -> None:
        """The client keeps its scores. Raises FloatingPointError for a score that is NaN."""
        scores = run.scratch(FedMaskScores).values
        if bool(scores.isnan().any()):
            raise FloatingPointError("the trained scores are not finite; lower algorithm.score_lr")
        masked, frozen = self._masked(scores.device)
        run.values[masked] = frozen * (scores > 0.0)
        found = torch.where(scores.isinf(), 0.0, scores).cpu()
        run.state = FedMaskClient(scores=found, kept=run.state.kept, has_trained=True)

    def pack(self, run: LocalRun[FedMaskClient]) -> Payload:
        """The mask, the kept units, and the running statistics if the model has any."""
        bits = (run.scratch(FedMaskScores).values > 0.0).cpu().numpy()
        return (Bits(_MASK, bits), Bits(_UNITS, run.state.kept.numpy()), *self._statistics(run.values))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """A bit for each weight and each unit, and the running statistics."""
        layout = self.setting.layout
        forms = {
            _MASK: ItemForm(kinds=(Bits,), size=layout.num_maskable),
            _UNITS: ItemForm(kinds=(Bits,), size=sum(self.units()[1])),
        }
        if num_statistics := layout.size - layout.num_trainable:
            forms[_STATISTICS] = ItemForm(kinds=(Dense,), size=num_statistics)
        return forms

    def weight(self, num_examples: int) -> float:
        """All clients have the same weight."""
        return 1.0

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """theta >= 1/2 where a client kept the weight's unit; other bits do not change."""
        layout, ones = self.setting.layout, aggregate.extras[_MASK]
        assert state.mask is not None
        # both are means over the same updates, with the weights of late updates
        covering = aggregate.extras[_UNITS][self.units()[0]]
        bits = torch.where(covering > 0.0, 2.0 * ones >= covering - _ROUNDING, layout.restrict(state.mask))
        mask = layout.expand(bits)
        params = self.frozen() * mask
        statistics = aggregate.extras.get(_STATISTICS, state.params[layout.num_trainable :])
        params[layout.num_trainable :] = statistics
        return ServerState(params=params, mask=mask)

    def _masked(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """bool[D]: the entries with scores; float32[W]: their frozen values."""
        masked = ~self.setting.layout.expand(torch.zeros(self.setting.layout.num_maskable, dtype=torch.bool))
        return masked.to(device), self.frozen()[masked].to(device)

    def _statistics(self, values: Tensor) -> Payload:
        """Running statistics of float32[D] values, if the model has any."""
        statistics = values[self.setting.layout.num_trainable :].detach().cpu()
        return (Dense(_STATISTICS, statistics.numpy()),) if statistics.numel() else ()
