"""FLASH: clients agree on the density of each layer before they train.

Some clients first search masks by dynamic sparse training from a common random mask, and send only the masks. The
server averages the densities of each layer, draws a random mask with them, and starts training from the initial model.

- `spdst`: all clients train inside this mask.
- `jmwst`: clients also change their masks while they train. Every `update_interval` rounds the server chooses a new
  mask: the largest averaged weights of each layer, with the mean layer densities of the clients' masks.

Devices with a lower density (`sparsity.device_levels`) get the largest weights inside the server's mask, so that the
masks are nested (Hetero-FLASH).

Symbols: d = 1 - sparsity.level, m = state.mask, p = algorithm.prune_rate, r_int = algorithm.update_interval.

Seen: the abstract and the public code (SaraBabakN/flash_fl). Not seen: the paper's text.

Deviations:

- A readjustment removes ceil(p_t n) of a layer's n weights. The same number of random weights grows, over all layers
  together. A layer's share is proportional to the mean size of its weights. Here the shares are exact numbers; in the
  code they are random numbers with these means.
- All maskable layers are sparse. In the code a flag limits the masks to convolutions.
- The common random mask has exactly floor(d n) weights in each layer, not a random number.
- Training starts from the same initial weights as the search. The code draws new ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    AGGREGATORS,
    Aggregate,
    Aggregator,
    Algorithm,
    AlgorithmConfig,
    Bits,
    Capabilities,
    ClientTask,
    ConfigError,
    ItemForm,
    LocalRun,
    Payload,
    RoundPlan,
    ServerState,
    Traits,
    allocate,
    grow_top,
    keep_top,
    magnitude_mask,
    pack_model,
    random_mask,
    share_out,
    stream,
)

_MASK = "mask"


class FLASHConfig(AlgorithmConfig):
    """Options of FLASH."""

    variant: Literal["spdst", "jmwst"] = Field(
        "spdst", description="a fixed mask after the search, or masks that clients change"
    )
    search_share: float = Field(0.1, gt=0.0, le=1.0, description="share of the clients that search masks")
    search_epochs: int = Field(10, ge=1, description="epochs of the search")
    prune_rate: float = Field(
        0.25, ge=0.0, lt=1.0, description="p at the start of a task; falls linearly to 0"
    )
    update_interval: int = Field(1, ge=1, description="r_int, rounds between two masks of the server (jmwst)")
    average: Literal["covered", "all"] = Field(
        "covered", description="mean over the clients that have a weight, or over all with 0 for the others"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FLASHState(ServerState):
    """Adds whether the search is over."""

    searched: bool = False


@final
class FLASH(Algorithm[FLASHState, None]):
    """FedAvg inside a mask on which clients agree."""

    Config: ClassVar[type[AlgorithmConfig]] = FLASHConfig
    config: FLASHConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="per device",
        payload="masks up once (spdst) or in each round (jmwst)",
        citations=(references.FLASH,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean",
        default_density=0.2,
        default_allocation="uniform",
        device_densities=True,
        upload_mask="own",
    )

    def check(self) -> None:
        """Reject a device with a higher density than the server's mask."""
        level = round(1.0 - self.density(0), 12)
        for name, own in self.setting.sparsity.device_levels.items():
            if own < level:
                problem = f"the mask of a device lies inside the server's mask, which has the level {level}"
                raise ConfigError(f"sparsity.device_levels.{name}", own, problem, f"use {level} or more")

    def weight(self, num_examples: int) -> float:
        """All participants count equally."""
        return 1.0

    def aggregator(self) -> Aggregator:
        """The average that `average` selects."""
        return AGGREGATORS["covmean" if self.config.average == "covered" else "wmean"]()

    def init(self, params: Tensor) -> FLASHState:
        """The common random mask of the search."""
        counts = allocate(self.setting.layout, self.density(0), self.setting.sparsity)
        mask = random_mask(self.setting.layout, counts, stream(self.setting.seed, "server", "flash-search"))
        return FLASHState(params=params * mask, mask=mask)

    def plan_probe(self, state: FLASHState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """Let random clients search, once."""
        if state.searched:
            return None
        num_clients = self.setting.num_clients
        rng = stream(self.setting.seed, "server", "flash-clients")
        chosen = rng.choice(num_clients, ceil(self.config.search_share * num_clients - 1e-9), replace=False)
        return RoundPlan.of(round_idx, tuple(sorted(chosen.tolist())), "probe")

    def on_probe(self, run: LocalRun[None]) -> Payload:
        """Train with readjustments, and send the mask alone."""
        run.flat.module.train()
        epochs = self.config.search_epochs
        for done, epoch in enumerate(run.batches("search", epochs), start=1):
            for batch in epoch:
                self.step(run, batch)
            if done < epochs:
                self.readjust(run, done / epochs)
        assert run.mask is not None
        return (Bits(_MASK, self.setting.layout.restrict(run.mask).numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The mask of a search, the model after training."""
        if task.kind == "probe":
            return {_MASK: ItemForm(kinds=(Bits,), size=self.setting.layout.num_maskable)}
        return super().upload_items(task)

    def probe_update(self, state: FLASHState, aggregate: Aggregate, round_idx: int) -> FLASHState:
        """Draw a random mask with the mean layer densities of the search."""
        layout = self.setting.layout
        shares = torch.zeros(layout.size, dtype=torch.float64)
        shares[layout.expand(torch.zeros(layout.num_maskable, dtype=torch.bool)).logical_not()] = (
            aggregate.extras[_MASK]
        )
        rng = stream(self.setting.seed, "server", "flash-mask")
        mask = random_mask(layout, self.layer_counts(shares), rng)
        params = torch.from_numpy(self.setting.initial.copy()) * mask
        return FLASHState(params=params, mask=mask, searched=True)

    def layer_counts(self, shares: Tensor) -> dict[str, int]:
        """Weights of each layer in a mask of density d, in proportion to the sums of float64[D] `shares`."""
        layout = self.setting.layout
        total = sum(allocate(layout, self.density(0), self.setting.sparsity).values())
        sums = {s.name: float(shares[s.slice].sum()) for s in layout.maskable}
        return share_out(total, sums, {s.name: s.size for s in layout.maskable})

    def broadcast(self, state: FLASHState) -> Payload:
        """The model under its mask; nothing if devices have masks of their own, which `unicast` sends."""
        return () if self.setting.sparsity.device_levels else super().broadcast(state)

    def unicast(self, state: FLASHState, task: ClientTask, client_state: None) -> Payload:
        """The largest weights of each layer, as many as the device's density allows."""
        if not self.setting.sparsity.device_levels:
            return ()
        assert state.mask is not None
        layout = self.setting.layout
        share = min(1.0, self.density(0, task.client_id) / self.density(0)) if state.searched else 1.0
        counts = {name: max(1, int(share * n + 1e-9)) for name, n in layout.active(state.mask).items()}
        mask = keep_top(layout, state.mask, state.params.abs(), counts)
        return (pack_model(layout, state.params, mask),)

    def max_density(self, round_idx: int, client_id: int) -> float:
        """d: the search has the server's density on every device."""
        return self.density(0)

    def changes_mask(self, round_idx: int) -> bool:
        """Whether clients and server change masks in this round."""
        return self.config.variant == "jmwst" and round_idx % self.config.update_interval == 0

    def on_batch(self, run: LocalRun[None], batches_done: int) -> None:
        """With a single local epoch, readjust in the middle of it, so that new weights train."""
        middle = batches_done == run.num_batches // 2 + 1
        if middle and self.setting.training.local_epochs == 1 and self.changes_mask(run.task.round_idx):
            self.readjust(run, batches_done / run.num_batches)

    def on_epoch(self, run: LocalRun[None], epochs_done: int) -> None:
        """Readjust after every epoch except the last."""
        epochs = self.setting.training.local_epochs
        if epochs_done < epochs and self.changes_mask(run.task.round_idx):
            self.readjust(run, epochs_done / epochs)

    def readjust(self, run: LocalRun[None], progress: float) -> None:
        """Remove the share p (1 - progress) of the smallest weights of each layer, and grow as many random ones."""
        assert run.mask is not None
        layout, mask, sizes = self.setting.layout, run.mask, run.values.detach().abs().cpu()
        share = self.config.prune_rate * (1.0 - progress)
        active = layout.active(mask)
        kept = {name: max(1, n - ceil(share * n)) for name, n in active.items()}
        survivors = keep_top(layout, mask, sizes, kept)
        means = {s.name: float(sizes[s.slice][survivors[s.slice]].mean()) for s in layout.maskable}
        free = {s.name: s.size - kept[s.name] for s in layout.maskable}
        grown = share_out(sum(active.values()) - sum(kept.values()), means, free)
        rng = stream(
            self.setting.seed, *run.task.stream_path, run.task.kind, "flash-growth", round(progress * 1e6)
        )
        scores = torch.from_numpy(rng.random(layout.size, dtype=np.float32))
        after = grow_top(layout, survivors, scores, {name: kept[name] + grown[name] for name in kept})
        run.set_mask(after)
        run.reset_moments(after ^ mask)

    def server_update(self, state: FLASHState, aggregate: Aggregate, round_idx: int) -> FLASHState:
        """The average; in rounds that change masks, under the mask of its largest weights."""
        params = aggregate.values.to(torch.float32)
        if not self.changes_mask(round_idx) or aggregate.coverage is None:
            return replace(state, params=params)
        mask = magnitude_mask(self.setting.layout, params, self.layer_counts(aggregate.coverage))
        return replace(state, params=params * mask, mask=mask)
