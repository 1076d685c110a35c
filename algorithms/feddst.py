"""FedDST: dynamic sparse training with one global mask, which the clients readjust.

FedAvg inside one global mask that moves: on readjustment rounds each client drops its smallest weights and
grows the masked weights with the largest gradient; the server averages every weight over the clients that have
it and prunes the union of their masks back to the target density.

Symbols: theta = state.params, m = state.mask, S = 1 - density, T_l(S) = allocate(density), R = training.rounds,
R_end = algorithm.end_round, Delta R = algorithm.readjust_every, alpha = algorithm.alpha.

Deviations (the paper's body was not available; each item follows the described method, and the public code differs):

- The cosine anneals alpha. `constant_alpha` keeps alpha constant, as the code does.
- Weights grow only where the mask is 0. `grow_over_all` ranks all positions, as the code does.
- A client readjusts after half of its local epochs, or after half of the mini-batches of a single epoch. It then
  continues to train: a weight that grows after the last step is exactly 0, and the server prunes it again.
  `adjust_after_epoch` = local_epochs is the code's choice. A run warns if no step follows the growth.
- Clients are weighted by samples.
- The server ranks only weights inside the union.
- A layer's target is at most the layer's size.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Capabilities,
    ConfigError,
    LocalRun,
    ServerState,
    Traits,
    allocate,
    batch_sizes,
    cosine_anneal,
    exact_share,
    grow_top,
    initial_mask,
    keep_top,
    smallest_density,
    stream,
)


class FedDSTConfig(AlgorithmConfig):
    """Options of FedDST."""

    alpha: float = Field(0.05, ge=0.0, lt=1.0, description="share of active weights replaced at round 0")
    readjust_every: int = Field(10, ge=1, description="Delta R: rounds 1, 1 + Delta R, ... readjust")
    end_round: int | None = Field(None, ge=0, description="R_end: no readjustment from here on; None: R / 2")
    adjust_after_epoch: int | None = Field(
        None,
        ge=1,
        description="local epochs before the readjustment; None: half of them, or half the batches of a single epoch",
    )
    mu: float = Field(0.0, ge=0.0, description="weight of FedProx's proximal term; 0: none")
    criterion: Literal["magnitude", "random"] = Field(
        "magnitude", description="initial mask: the largest initial weights of each layer, or random ones"
    )
    constant_alpha: bool = Field(False, description="compatibility: do not anneal alpha")
    grow_over_all: bool = Field(False, description="compatibility: grow over active positions as well")


@final
class FedDST(Algorithm[ServerState, None]):
    """Federated dynamic sparse training."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        upload_mask="own", aggregation="covmean", default_density=0.2, steady_cost=True, density_schedule=True
    )
    Config: ClassVar[type[AlgorithmConfig]] = FedDSTConfig
    config: FedDSTConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="fixed",
        payload="the mask both ways, when it changed",
        citations=(references.FEDDST,),
    )

    def check(self) -> None:
        """The readjustment must fall into the local epochs, and leave every layer at least one weight."""
        epochs, after = self.setting.training.local_epochs, self.config.adjust_after_epoch
        if after is not None and after > epochs:
            raise ConfigError(
                "algorithm.adjust_after_epoch",
                after,
                f"training.local_epochs={epochs}",
                f"use at most {epochs}",
            )
        sparsity, alpha = self.setting.sparsity, self.config.alpha
        lowest = smallest_density(self.setting.layout, sparsity) / (1 - exact_share(alpha))
        for round_idx in (0, self.setting.training.rounds - 1):
            density = exact_share(self.density(round_idx))
            if density < lowest:
                highest = float(1 - lowest)
                raise ConfigError(
                    "sparsity.level",
                    round(float(1 - density), 12),
                    f"dropping alpha={alpha:g} of it leaves a layer without weights under {sparsity.allocation}",
                    f"lower it to {max(0.0, highest - 5e-7):.6f} or less, or choose another sparsity.allocation",
                )

    @property
    def has_steady_cost(self) -> bool:
        """Not where a weight that stays active may be grown again, which leaves the mask with fewer weights."""
        return super().has_steady_cost and not self.config.grow_over_all

    @property
    def adjust_after_epoch(self) -> int:
        """Local epochs done when a client readjusts its mask; 0: in the middle of the only one."""
        return self.config.adjust_after_epoch or self.setting.training.local_epochs // 2

    def warnings(self, num_samples: NDArray[np.int64]) -> tuple[str, ...]:
        """Warn about clients whose grown weights no step trains."""
        training = self.setting.training
        if not any(self.alpha_at(round_idx) > 0.0 for round_idx in range(training.rounds)):
            return ()
        if self.adjust_after_epoch == training.local_epochs:
            epochs = training.local_epochs
            where = (
                "after the only local epoch" if epochs == 1 else f"after the last of {epochs} local epochs"
            )
            remedy = "leave algorithm.adjust_after_epoch unset"
        elif self.adjust_after_epoch == 0:
            sizes, counts = np.unique(num_samples, return_counts=True)
            single = [
                len(batch_sizes(int(size), training, self.setting.smallest_batch)) == 1 for size in sizes
            ]
            if not any(single):
                return ()
            where = (
                f"after the only mini-batch, in clients with one mini-batch "
                f"({int(counts[single].sum())} of {len(num_samples)})"
            )
            remedy = "raise training.local_epochs or lower training.batch_size"
        else:
            return ()
        return (f"feddst grows weights {where}: no step trains them, they stay 0; {remedy}",)

    def alpha_at(self, round_idx: int) -> float:
        """alpha_r: share of active weights to replace; 0 where the round does not readjust."""
        end = self.config.end_round
        end = self.setting.training.rounds // 2 if end is None else end
        if not 1 <= round_idx < end or (round_idx - 1) % self.config.readjust_every:
            return 0.0
        if self.config.constant_alpha:
            return self.config.alpha
        return cosine_anneal(self.config.alpha, round_idx, end)

    def targets(self, density: float) -> dict[str, int]:
        """T_l: non-zero weights of each layer at a density."""
        return allocate(self.setting.layout, density, self.setting.sparsity)

    def init(self, params: Tensor) -> ServerState:
        """The mask keeps T_l(S) weights of each layer, the largest or random ones."""
        rng = stream(self.setting.seed, "server", "mask")
        mask = initial_mask(
            self.setting.layout, params, self.targets(self.density(0)), self.config.criterion, rng
        )
        return ServerState(params=params * mask, mask=mask)

    def grad_hook(self, run: LocalRun[None]) -> None:
        """FedDST + FedProx: the pull acts on the steps; the growth gradient is taken without it."""
        run.add_proximal_gradient(self.config.mu)

    def on_batch(self, run: LocalRun[None], batches_done: int) -> None:
        """Readjust in the middle of a single epoch of a readjustment round."""
        if self.adjust_after_epoch == 0 and batches_done == max(1, run.num_batches // 2):
            self._readjust(run)

    def on_epoch(self, run: LocalRun[None], epochs_done: int) -> None:
        """Readjust once, after the configured epoch of a readjustment round."""
        if epochs_done == self.adjust_after_epoch:
            self._readjust(run)

    def _readjust(self, run: LocalRun[None]) -> None:
        """Where alpha > 0, prune to T_l(S + (1 - S) alpha) by magnitude, grow back to T_l(S) by gradient, from 0."""
        density, alpha = self.density(run.task.round_idx), self.alpha_at(run.task.round_idx)
        if alpha == 0.0:
            return
        assert run.mask is not None
        assert run.last_batch is not None
        layout, before = self.setting.layout, run.mask
        gradient = run.dense_gradient(run.last_batch).abs().cpu()
        gradient = torch.cat([gradient, gradient.new_zeros(layout.size - gradient.numel())])
        magnitude = run.values.abs().cpu()
        kept = keep_top(layout, before, magnitude, self.targets(density * (1.0 - alpha)))
        if self.config.grow_over_all:
            missing = {name: n - layout.active(kept)[name] for name, n in self.targets(density).items()}
            chosen = keep_top(layout, layout.full_mask(), gradient, missing) & self._maskable()
            after, fresh = kept | chosen, chosen
        else:
            after = grow_top(layout, kept, gradient, self.targets(density))
            fresh = after & ~kept
        run.values.mul_((~fresh).to(run.values.device))
        run.set_mask(after)
        run.reset_moments((before & ~after) | fresh)

    def _maskable(self) -> Tensor:
        layout = self.setting.layout
        return ~layout.expand(torch.zeros(layout.num_maskable, dtype=torch.bool))

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Prune the union of the client masks to T_l by the averaged magnitude; ties to the better covered."""
        union, coverage = aggregate.union, aggregate.coverage
        assert union is not None
        targets = self.targets(self.density(round_idx))
        mask = keep_top(self.setting.layout, union, aggregate.values.abs(), targets, coverage)
        return ServerState(params=(aggregate.values * mask).to(torch.float32), mask=mask)

    def server_metrics(
        self, before: ServerState, aggregate: Aggregate, after: ServerState
    ) -> Mapping[str, float]:
        """How far the clients' masks spread, and what of it outlived the server's pruning."""
        assert before.mask is not None
        assert after.mask is not None
        assert aggregate.union is not None
        layout, union = self.setting.layout, aggregate.union
        shares = {
            "sparsity/union": union & self._maskable(),
            "sparsity/new_survivors": after.mask & ~before.mask,
            "sparsity/removed": union & ~after.mask,
        }
        return {name: int(torch.count_nonzero(m)) / layout.num_maskable for name, m in shares.items()}
