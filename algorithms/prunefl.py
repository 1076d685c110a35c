"""PruneFL: the model is pruned at one client first, and its mask is adjusted during federated training.

First one client trains and prunes alone. Then FedAvg runs inside the client's mask, and the server adjusts the mask
every `adjust_every` rounds. The candidates of an adjustment are the smallest active weights and all masked weights.
The server keeps the candidates that raise the expected decrease of the loss per second, measured by squared gradients.

Symbols: w = state.params, m = state.mask, g^2 = squared gradients, dec = algorithm.prune_share halved every
half_life rounds, Delta = sum of g^2 over what is kept, T = c + sum of t_l over kept weights,
t_l = comm_s + local_steps comp_s positions_l (seconds for a weight of layer l, which one sample uses positions_l
times), c = constant_share times the sum of t_l over all weights.

Deviations:

- The public code has t_l and c measured on devices. comm_s is its figure. comp_s is that of the second convolution of
  its FEMNIST model: 7.1e-6 s a weight and step of 20 samples, over 196 positions. Its c is about .14 of the dense
  model's t_l there, and .73 for its CIFAR-10 model.
- Clients train local_epochs, not 5 steps.
- Clients square the summed gradient of a round, and add these squares between adjustments. They send the sum for all
  trained parameters, and the server averages it by samples. A client that is not sampled when the server adjusts
  deletes its sum, because the sum belongs to the old mask.
- An iteration of the first stage is a pass over the client's first batches, as in the code. The accuracy is read
  before each pass; the code reads it before each tenth.
- `sparsity.level` (0 if unset) caps the density to which an adjustment may grow, in both stages. The density of the
  kept weights may be above the cap, so that a model reaches its cap in several steps.
- Regrown weights start at 0. `regrow=stale` takes the server's last value, as the code does (0 within the first
  stage).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from algorithms import references
from algorithms._prunefl_gain_per_cost import adjust_mask
from orchestrator.method import (
    MODEL_FORM,
    MODEL_ITEM,
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Batch,
    Bits,
    Capabilities,
    ClientTask,
    ConfigError,
    Dense,
    ItemForm,
    LocalRun,
    Payload,
    RoundPlan,
    ServerState,
    Traits,
    accuracy,
)

MASK, SQUARES = "mask", "squared_gradient"

#: the first stage adjusts once the client predicts this much better than chance
_BETTER_THAN_CHANCE = 1.5
#: and ends when so many changes of density in a row are at most so large, relative to the density before
_NUM_SETTLED, _SETTLED_CHANGE = 5, 0.1


class PruneFLConfig(AlgorithmConfig):
    """Options of PruneFL."""

    adjust_every: int = Field(50, ge=1, description="rounds n, 2n, 3n, ... end with an adjustment")
    prune_share: float = Field(
        0.3, ge=0.0, lt=1.0, description="dec in round 0: share of a layer's weights that are candidates"
    )
    half_life: float = Field(10_000.0, gt=0.0, description="rounds after which dec has halved")
    regrow: Literal["zero", "stale"] = Field("zero", description="where regrown weights start")
    comm_s: float = Field(5.56e-6, gt=0.0, description="seconds to move one weight in a round")
    comp_s: float = Field(3.6e-8, ge=0.0, description="seconds a local step takes for one use of a weight")
    local_steps: int = Field(5, ge=0, description="local steps that the time of a round counts")
    constant_share: float = Field(
        0.14, gt=0.0, description="c: time independent of the weights, divided by the time of all weights"
    )
    initial_pruning: bool = Field(True, description="run the first stage")
    initial_batches: int = Field(10, ge=1, description="batches that the first stage trains on")
    initial_iterations: int = Field(1000, ge=1, description="largest number of passes over these batches")
    initial_adjust_every: int = Field(50, ge=1, description="passes from one adjustment to the next")
    initial_weights: Literal["trained", "initial"] = Field(
        "trained",
        description="the second stage starts from the first stage's weights, or from the initial weights",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PruneFLState(ServerState):
    """Adds whether the first stage is over, and float32[D] `stale`: each weight's last value (regrow=stale)."""

    initialised: bool
    stale: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class PruneFLClient:
    """float32[T] `total`: sum of a client's squared gradients, over its rounds since adjustment `num_adjustments`.

    `num_adjustments` is how often the server had adjusted the mask when the client last trained: earlier squares
    belong to another mask.
    """

    total: Tensor
    num_adjustments: int = 0


@dataclass(frozen=True, eq=False)
class GradientSum:
    """float32[T]: the sum of a task's gradients, added in place."""

    values: Tensor


@final
class PruneFL(Algorithm[PruneFLState, PruneFLClient]):
    """Pruning at one client, then adaptive pruning while training."""

    Config: ClassVar[type[AlgorithmConfig]] = PruneFLConfig
    config: PruneFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="adaptive",
        payload="squared gradients up and the mask down, at adjustments",
        citations=(references.PRUNEFL,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean", default_density=1.0, density_schedule=True
    )

    def check(self) -> None:
        """Reject densities by layer, because the method chooses them."""
        if self.setting.sparsity.layer_density:
            problem = f"{self.config.name} finds the densities of the layers itself"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level to cap them")

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1, because the cap limits only growth."""
        return 1.0

    def init(self, params: Tensor) -> PruneFLState:
        """Dense."""
        return PruneFLState(
            params=params,
            mask=self.setting.layout.full_mask(),
            initialised=not self.config.initial_pruning,
            stale=params if self.config.regrow == "stale" else None,
        )

    def init_client(self, client_id: int) -> PruneFLClient:
        """The sum of squares starts at 0."""
        return PruneFLClient(total=torch.zeros(self.setting.layout.num_trainable))

    def adjusts(self, round_idx: int) -> bool:
        """Whether a round ends with an adjustment."""
        return round_idx > 0 and round_idx % self.config.adjust_every == 0

    def num_adjustments(self, round_idx: int) -> int:
        """Adjustments before a round: those at the ends of the rounds n, 2n, ... below it."""
        return max(0, round_idx - 1) // self.config.adjust_every

    def warnings(self, num_samples: NDArray[np.int64]) -> tuple[str, ...]:
        """An adjustment after which no round follows."""
        last = self.setting.training.rounds - 1
        if not self.adjusts(last):
            return ()
        remedy = "choose another training.rounds or algorithm.adjust_every"
        return (
            f"prunefl adjusts the mask in round {last}, the last: no step trains what it grows; {remedy}",
        )

    def times_s(self) -> dict[str, float]:
        """t_l: seconds a round takes for one weight of each layer."""
        config, positions = self.config, self.setting.cost.positions
        return {n: config.comm_s + config.local_steps * config.comp_s * p for n, p in positions.items()}

    def adjusted(self, mask: Tensor, values: Tensor, squares: Tensor, share: float, round_idx: int) -> Tensor:
        """bool[D]: the mask after an adjustment that puts `share` of the active weights up as candidates."""
        times, sizes = self.times_s(), self.setting.cost.sizes
        return adjust_mask(
            self.setting.layout,
            mask,
            values.cpu(),
            squares.cpu(),
            times,
            share=share,
            base_cost=self.config.constant_share * sum(t * sizes[name] for name, t in times.items()),
            max_density=self.density(round_idx),
        )

    def plan_probe(self, state: PruneFLState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """First stage: one probe of the first client of the cohort."""
        if state.initialised:
            return None
        return RoundPlan.of(round_idx, cohort[:1], "probe")

    def on_probe(self, run: LocalRun[PruneFLClient]) -> Payload:
        """Train the model and adjust its mask until the density is stable; send the model, or only its mask."""
        batches = list(islice(next(run.batches("initial pruning", 1)), self.config.initial_batches))
        run.flat.module.train()
        squares, densities, first = torch.zeros_like(run.grad), list[float](), None
        for iteration in range(self.config.initial_iterations):
            if first is None and _gain_over_chance(run, batches) >= _BETTER_THAN_CHANCE:
                first = iteration
            for batch in batches:
                run.backward(batch)
                squares.addcmul_(run.grad, run.grad)
                run.apply_gradient()
            if first is None or (iteration - first) % self.config.initial_adjust_every:
                continue
            densities.append(self._readjust(run, squares))
            squares.zero_()
            if _is_settled(densities):
                break
        run.flops.make_weight_gradients_dense()
        if self.config.initial_weights == "trained":
            return super().pack(run)
        assert run.mask is not None
        return (Bits(MASK, self.setting.layout.restrict(run.mask).numpy()),)

    def _readjust(self, run: LocalRun[PruneFLClient], squares: Tensor) -> float:
        """Adjust the mask of a model in training; its density."""
        assert run.mask is not None
        share, before = self.config.prune_share, run.mask
        after = self.adjusted(before, run.values, squares, share, run.task.round_idx)
        run.set_mask(after)
        run.reset_moments(before != after)
        return self.setting.layout.density(after)

    def probe_update(self, state: PruneFLState, aggregate: Aggregate, round_idx: int) -> PruneFLState:
        """Adopt the client's mask, and its weights if the client sent them."""
        mask = aggregate.union
        if self.config.initial_weights == "initial":
            mask = self.setting.layout.expand(aggregate.extras[MASK] > 0)
        assert mask is not None
        return _with_values(replace(state, initialised=True, mask=mask), aggregate.values, mask)

    def on_train_start(self, run: LocalRun[PruneFLClient]) -> None:
        """Start the sum of the task's gradients at 0."""
        run.put_scratch(GradientSum(torch.zeros_like(run.grad)))

    def grad_hook(self, run: LocalRun[PruneFLClient]) -> None:
        """Add the gradient of all weights, masked weights included, to the sum."""
        run.scratch(GradientSum).values.add_(run.grad)

    def after_train(self, run: LocalRun[PruneFLClient]) -> None:
        """Add the square of their sum to the client's, which an adjustment since its last participation clears."""
        squares, num_adjustments = (
            run.scratch(GradientSum).values.square().cpu(),
            self.num_adjustments(run.task.round_idx),
        )
        if num_adjustments == run.state.num_adjustments:
            squares = run.state.total + squares
        run.state = PruneFLClient(total=squares, num_adjustments=num_adjustments)
        run.flops.make_weight_gradients_dense()

    def pack(self, run: LocalRun[PruneFLClient]) -> Payload:
        """The model; in a round that adjusts also the squares, which are then reset to 0."""
        if not self.adjusts(run.task.round_idx):
            return super().pack(run)
        squares = Dense(SQUARES, run.state.total.numpy())
        run.state = self.init_client(run.task.client_id)
        return (*super().pack(run), squares)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The model or the mask of the first stage; later the model, with all squares in a round that adjusts."""
        if task.kind == "probe":
            if self.config.initial_weights == "trained":
                return {MODEL_ITEM: MODEL_FORM}
            return {MASK: ItemForm(kinds=(Bits,), size=self.setting.layout.num_maskable)}
        forms = dict(super().upload_items(task))
        if self.adjusts(task.round_idx):
            forms[SQUARES] = ItemForm(kinds=(Dense,), size=self.setting.layout.num_trainable)
        return forms

    def server_update(self, state: PruneFLState, aggregate: Aggregate, round_idx: int) -> PruneFLState:
        """Average, and adjust the mask in the rounds that `adjusts` selects."""
        assert state.mask is not None
        mask = state.mask
        if self.adjusts(round_idx):
            share = self.config.prune_share * 0.5 ** (round_idx / self.config.half_life)
            mask = self.adjusted(mask, aggregate.values, aggregate.extras[SQUARES], share, round_idx)
        return _with_values(state, aggregate.values, mask)


def _with_values(state: PruneFLState, values: Tensor, mask: Tensor) -> PruneFLState:
    """The state with float64[D] values, which are new inside `state.mask`, under the mask."""
    stale = state.stale
    if stale is not None:
        assert state.mask is not None
        values = torch.where(state.mask, values, stale)
        stale = values.to(torch.float32)
    return replace(state, params=(values * mask).to(torch.float32), mask=mask, stale=stale)


def _gain_over_chance(run: LocalRun[PruneFLClient], batches: list[Batch]) -> float:
    """Accuracy on the batches, times the number of classes."""
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad(), run.flat.preserved_buffers():
        num_classes = int(run.flat(inputs[:2]).shape[1])
    return accuracy(run.flat, inputs, labels) * num_classes


def _is_settled(densities: list[float]) -> bool:
    changes = [abs(b / a - 1.0) for a, b in pairwise(densities)]
    return len(changes) >= _NUM_SETTLED and max(changes[-_NUM_SETTLED:]) <= _SETTLED_CHANGE
