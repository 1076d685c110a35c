"""FedDIP: dense training with the gradients of a pruned model, and a penalty that grows.

Clients train a dense model with the gradients of the pruned model (error feedback), so that pruned weights move and
may return. The server averages, and every `interval` rounds chooses the largest weights of all layers as the new mask.
A penalty on the norm of each layer grows in steps over the rounds.

Symbols: w = the dense model, m = state.mask, w <- w - eta grad f(w m), R = algorithm.interval, Q = algorithm.num_steps,
lambda_t = 0 in the first of Q equal parts of the run, then min_penalty + (i - 1) (max_penalty - min_penalty) / (Q - 1)
in part i = 1, ..., Q - 1; the loss is f(w m) + lambda_t sum over layers of |w_l m_l|_2.

Seen: the abstract and the public code (EricLoong/feddip). Not seen: the paper's text.

Deviations:

- The sparsity s_t = s_p + (s_0 - s_p) (1 - t / T)^3 of the code is `sparsity.schedule.kind=cubic` with
  `sparsity.schedule.final_level` and an `end_round` of `training.rounds`. Without a schedule the sparsity is constant.
- In the code the server first applies its old mask to the average, so that pruned weights never return.
  `feedback=false` is this form. Clients then train inside the mask.
- Clients send dense models only in rounds after which the mask changes. In all other rounds the server would discard
  the weights outside the mask.
- All clients start with one random mask. In the code each client draws its own in round 0.
- The server's model is pruned, as in the code.
"""

from dataclasses import dataclass
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
    LocalRun,
    Payload,
    ServerState,
    Traits,
    allocate,
    exact_share,
    keep_top_overall,
    pack_model,
    random_mask,
    stream,
)


class FedDIPConfig(AlgorithmConfig):
    """Options of FedDIP."""

    interval: int = Field(5, ge=1, description="R, rounds between two masks")
    feedback: bool = Field(True, description="error feedback; false: clients train inside the mask")
    min_penalty: float = Field(5e-4, ge=0.0, description="lambda of the second part of the run")
    max_penalty: float = Field(
        1e-3, ge=0.0, description="lambda after the last part; 0 with min_penalty=0: none"
    )
    num_steps: int = Field(20, ge=2, description="Q, parts of the run with a constant penalty")


@dataclass(eq=False)
class DenseModel:
    """Scratch value of a task: the dense model w, float32[D]."""

    values: Tensor


@final
class FedDIP(Algorithm[ServerState, None]):
    """Dynamic pruning with error feedback and a penalty that grows."""

    Config: ClassVar[type[AlgorithmConfig]] = FedDIPConfig
    config: FedDIPConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="fixed",
        payload="the mask down, when it changed",
        citations=(references.FEDDIP,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean",
        default_density=0.5,
        default_allocation="erk",
        density_schedule=True,
        upload_mask="own",
    )

    def init(self, params: Tensor) -> ServerState:
        """A random mask of the first density."""
        counts = allocate(self.setting.layout, self.density(0), self.setting.sparsity)
        mask = random_mask(self.setting.layout, counts, stream(self.setting.seed, "server", "feddip-mask"))
        return ServerState(params=params * mask, mask=mask)

    def changes_mask(self, round_idx: int) -> bool:
        """Whether the server chooses a mask after this round."""
        return round_idx % self.config.interval == 0

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1 where clients send dense models; else the density of the last mask."""
        if self.config.feedback and self.changes_mask(round_idx):
            return 1.0
        return max(self.density(r) for r in range(max(0, round_idx - self.config.interval), round_idx + 1))

    def penalty(self, round_idx: int) -> float:
        """lambda_t."""
        config = self.config
        part = config.num_steps * round_idx // self.setting.training.rounds
        step = (config.max_penalty - config.min_penalty) / (config.num_steps - 1)
        return config.min_penalty + step * (part - 1) if part else 0.0

    def load(self, run: LocalRun[None]) -> None:
        """Load the pruned model; with error feedback, pruned weights may move."""
        super().load(run)
        if self.config.feedback:
            run.put_scratch(DenseModel(run.values.clone()))

    def step(self, run: LocalRun[None], batch: Batch) -> None:
        """Compute the gradient of the pruned model, and apply it to the dense model."""
        if not self.config.feedback:
            super().step(run, batch)
            return
        dense = run.scratch(DenseModel)
        run.backward(batch)
        self.grad_hook(run)
        num_trainable, mask = run.grad.numel(), run.mask
        run.values[:num_trainable] = dense.values[:num_trainable]
        run.set_mask(None)
        run.apply_gradient()
        dense.values.copy_(run.values)
        run.set_mask(mask)

    def grad_hook(self, run: LocalRun[None]) -> None:
        """Add the gradient of lambda_t |w_l|_2 for each maskable layer."""
        penalty = self.penalty(run.task.round_idx)
        if penalty:
            for segment in self.setting.layout.maskable:
                weights = run.values[segment.slice]
                run.grad[segment.slice].add_(weights / weights.norm().clamp(min=1e-12), alpha=penalty)

    def after_train(self, run: LocalRun[None]) -> None:
        """With error feedback, every step computed the gradients of all weights."""
        if self.config.feedback:
            run.flops.make_weight_gradients_dense()

    def pack(self, run: LocalRun[None]) -> Payload:
        """The model inside its mask, or the dense model if the mask may change."""
        if self.config.feedback and self.changes_mask(run.task.round_idx):
            return (pack_model(self.setting.layout, run.scratch(DenseModel).values, None),)
        return super().pack(run)

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """The mean, under the mask of its largest weights or under the old mask."""
        assert state.mask is not None
        params, mask, layout = aggregate.values.to(torch.float32), state.mask, self.setting.layout
        if self.changes_mask(round_idx):
            count = round(exact_share(self.density(round_idx)) * layout.num_maskable)
            mask = keep_top_overall(layout, layout.restrict(params.abs()), count, 1)
        return ServerState(params=params * mask, mask=mask)
