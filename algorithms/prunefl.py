"""PruneFL: Jiang et al., "Model Pruning Enables Efficient Federated Learning on Edge Devices", IEEE TNNLS 2022,
arXiv 1909.12326, https://arxiv.org/abs/1909.12326

One client first trains and prunes alone. Then FedAvg runs inside the mask that it found, and every so many
rounds the server adjusts the mask: some of the smallest weights, and all the weights outside, stand for election,
and those come in that raise the expected loss reduction per second, measured by squared gradients.

Symbols: w = state.params, m = state.mask, g^2 = squared gradients, dec = algorithm.prune_share and its decay,
Delta = sum of g^2 over what is kept, T = c + sum of t_l over kept weights, t_l = comm_s + local_steps comp_s
positions_l (seconds a weight of layer l; positions_l = its uses for one sample), c = constant_share times the
dense model's sum of t_l.

Deviations: the public code measured t_l and c on its devices. comm_s is its figure; comp_s is its figure for the
second convolution of its FEMNIST model (7.1e-6 s a weight and step of 20 samples) over the 196 positions there;
c is about .14 of the dense model's sum of t_l in its FEMNIST settings and .73 in its CIFAR-10 ones, hence
constant_share. Clients train local_epochs, not 5 steps; a client's g^2 of one round is the square of its summed
step gradients, kept up between adjustments, sent for all trained parameters, and averaged by samples. An
iteration of the first stage is a pass over the client's first batches, as in the code, and accuracy there is
looked at before every pass (the code: every tenth). `sparsity.level`, 0 unless set, caps what an adjustment may
grow to, in the first stage too; what is kept anyway may lie above, so a cap is reached by and by. Regrown weights
start at 0; `regrow=stale` takes the last value that the server had there, as the code does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from math import floor
from typing import ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import Aggregate, AggregationName
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.evaluate import accuracy
from orchestrator.federation.local import Batch, LocalRun
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.traits import Traits
from orchestrator.sparsity.gain_per_cost import best_ratio
from orchestrator.sparsity.payload import Bits, Dense, Payload
from orchestrator.sparsity.scores import keep_top

SQUARES = "squared_gradient"


class PruneFLConfig(AlgorithmConfig):
    """Options of PruneFL."""

    adjust_every: int = Field(50, ge=1, description="rounds adjust_every, 2 adjust_every, ... adjust the mask")
    prune_share: float = Field(
        0.3, ge=0.0, lt=1.0, description="dec: share of each layer's weights that stand for election, round 0"
    )
    half_life: float = Field(10_000.0, gt=0.0, description="rounds after which dec has halved")
    regrow: Literal["zero", "stale"] = Field("zero", description="where regrown weights start")
    comm_s: float = Field(5.56e-6, gt=0.0, description="seconds to send one weight down and up")
    comp_s: float = Field(3.6e-8, ge=0.0, description="seconds of a local step for one use of a weight")
    local_steps: int = Field(5, ge=0, description="local steps that t_l counts")
    constant_share: float = Field(
        0.14, gt=0.0, description="c, the time no weight takes, over that of all weights together"
    )
    initial_pruning: bool = Field(True, description="run the first stage")
    initial_batches: int = Field(10, ge=1, description="batches that the first stage trains on")
    initial_iterations: int = Field(1000, ge=1, description="most passes over them")
    initial_adjust_every: int = Field(50, ge=1, description="passes between adjustments in the first stage")
    initial_weights: Literal["trained", "initial"] = Field(
        "trained", description="what training begins with: the first stage's weights, or the initial ones"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PruneFLState(ServerState):
    """Adds whether the first stage is over, and float32[D] `stale`: each weight's last value (regrow=stale)."""

    initialised: bool
    stale: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Squares:
    """float32[T] sum of a client's squared gradients over its rounds since the last adjustment."""

    total: Tensor


@final
class PruneFL(Algorithm[PruneFLState, Squares]):
    """Pruning at one client, then adaptive pruning while training."""

    Config: ClassVar[type[AlgorithmConfig]] = PruneFLConfig
    config: PruneFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="adaptive",
        payload="squared gradients up and the mask down, at adjustments",
        source="arXiv 1909.12326",
    )
    aggregation: ClassVar[AggregationName] = "covmean"
    default_level: ClassVar[float | None] = 0.0
    follows_schedule: ClassVar[bool] = True

    def check(self) -> None:
        """The method itself decides on each layer's density."""
        if self.setting.sparsity.layer_density:
            problem = f"{self.config.name} finds the layers' densities itself"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level to cap them")

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: the cap holds for what grows only."""
        return 1.0

    def adjusts(self, round_idx: int) -> bool:
        """Whether the round ends with an adjustment."""
        return round_idx > 0 and round_idx % self.config.adjust_every == 0

    def init(self, params: Tensor) -> PruneFLState:
        """Dense."""
        mask, stale = self.setting.layout.full_mask(), self.config.regrow == "stale"
        return PruneFLState(
            params=params,
            mask=mask,
            initialised=not self.config.initial_pruning,
            stale=params if stale else None,
        )

    def init_client(self, client_id: int) -> Squares:
        """Nothing summed yet."""
        return Squares(total=torch.zeros(self.setting.layout.num_trainable))

    # First stage

    def plan_probe(self, state: PruneFLState, round_idx: int) -> RoundPlan | None:
        """The client drawn first works alone."""
        if state.initialised:
            return None
        return RoundPlan.of(round_idx, self.select(state, round_idx)[:1], "probe")

    def on_probe(self, run: LocalRun[Squares]) -> Payload:
        """Train, and adjust until the density settles; answer with the model under its mask, or the mask alone."""
        config, layout = self.config, self.setting.layout
        batches = list(islice(next(run.batches("initial pruning", 1)), config.initial_batches))
        run.flat.module.train()
        squares, densities = torch.zeros_like(run.grad), list[float]()
        first: int | None = None
        for iteration in range(config.initial_iterations):
            if first is None and _accuracy(run, batches) >= _FIRST_ACCURACY / _num_classes(run, batches[0]):
                first = iteration
            for batch in batches:
                run.backward(batch)
                squares.addcmul_(run.grad, run.grad)
                run.apply_gradient()
            if first is not None and (iteration - first) % config.initial_adjust_every == 0:
                self._readjust(run, squares)
                squares.zero_()
                densities.append(layout.density(run.mask))
                if _settled(densities):
                    break
        _count_dense_gradients(run)
        if config.initial_weights == "trained":
            return self._model(run)
        assert run.mask is not None
        return (Bits(MASK, layout.restrict(run.mask).numpy()),)

    def probe_update(self, state: PruneFLState, aggregate: Aggregate, round_idx: int) -> PruneFLState:
        """Take the mask over, and the weights too if the client sent them."""
        layout, values, mask = self.setting.layout, aggregate.values, aggregate.union
        if self.config.initial_weights == "initial":
            mask = layout.expand(aggregate.extras[MASK] > 0)
        assert mask is not None
        return self._moved(replace(state, initialised=True, mask=mask), values, mask)

    # Second stage

    def grad_hook(self, run: LocalRun[Squares]) -> None:
        """Sum the task's gradients, those of masked weights included."""
        run.scratch[SQUARES] = run.scratch.get(SQUARES, 0) + run.grad

    def after_train(self, run: LocalRun[Squares]) -> None:
        """Add the square of the sum to what the client keeps."""
        run.state = Squares(total=run.state.total + run.scratch[SQUARES].square().cpu())
        _count_dense_gradients(run)

    def pack(self, run: LocalRun[Squares]) -> Payload:
        """The model; in a round that adjusts also the squares, which start anew."""
        if not self.adjusts(run.task.round_idx):
            return self._model(run)
        squares = Dense(SQUARES, run.state.total.numpy())
        run.state = self.init_client(run.task.client_id)
        return (*self._model(run), squares)

    def server_update(self, state: PruneFLState, aggregate: Aggregate, round_idx: int) -> PruneFLState:
        """Average, and adjust the mask if the round is one that does."""
        assert state.mask is not None
        mask, values = state.mask, aggregate.values
        if self.adjusts(round_idx):
            share = self.config.prune_share * 0.5 ** (round_idx / self.config.half_life)
            mask = self.adjusted(mask, values, aggregate.extras[SQUARES], share, round_idx)
        return self._moved(state, values, mask)
