"""FedTiny: clients choose a pruned model by its batch statistics, then prune and grow it layer by layer.

Before training, the server prunes the initial model to several candidates. Clients refresh the batch statistics of each
candidate, the server averages them, and clients measure the loss of each candidate with the averaged statistics. The
candidate with the smallest loss is trained (adaptive batch normalisation selection). While it trains, clients
sometimes send their largest gradients of pruned weights. The server then removes as many of the smallest weights, and
grows the weights with the largest mean gradients (progressive pruning).

Symbols: C = algorithm.candidates, Delta R = algorithm.interval, R_stop = algorithm.stop_round, alpha =
algorithm.alpha, k_l = floor(alpha / 2 (1 + cos(pi r / R_stop)) n_l) of the n_l weights of layer l.

Seen: the abstract, and public code of both stages. Not seen: the paper's text, its constants and its order of blocks.

Deviations:

- The candidates are magnitude masks whose layer densities are scaled by random factors from 1 - `spread` to 1 +
  `spread`. The first has the densities of `sparsity.allocation`. The paper starts from a pre-trained model.
- A model without running statistics skips the first question.
- `unit=layer` changes one layer at a time, in order. The paper's blocks are not known here; `model` changes all layers.
- Gradients are those of one mini-batch after the last step, as in the code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import ClassVar, Literal, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
    Bits,
    Capabilities,
    ClientTask,
    Dense,
    ItemForm,
    LocalRun,
    Masked,
    Payload,
    RoundPlan,
    ServerState,
    Traits,
    allocate,
    cosine_anneal,
    find_bits,
    find_values,
    grow_top,
    keep_top,
    magnitude_mask,
    share_out,
    stream,
)

_STATISTICS, _LOSSES, _GROWTH = "statistics", "losses", "growth"


class FedTinyConfig(AlgorithmConfig):
    """Options of FedTiny."""

    candidates: int = Field(5, ge=1, description="C, candidate masks; 1: no selection")
    spread: float = Field(
        0.5, ge=0.0, lt=1.0, description="largest change of a layer's density in a candidate"
    )
    interval: int = Field(10, ge=1, description="Delta R, rounds between two changes of the mask")
    stop_round: int = Field(
        100, ge=0, description="R_stop, round from which the mask is fixed; 0: it never changes"
    )
    alpha: float = Field(0.2, ge=0.0, le=1.0, description="share of weights that change in round 0")
    unit: Literal["model", "layer"] = Field("model", description="change all layers, or one layer in turn")


@dataclass(frozen=True, kw_only=True, eq=False)
class FedTinyState(ServerState):
    """Adds the averaged statistics of the candidates, float32[C, B], and whether they are known."""

    statistics: Tensor
    refreshed: bool = False


@final
class FedTiny(Algorithm[FedTinyState, None]):
    """FedAvg inside a mask that clients choose and that moves."""

    Config: ClassVar[type[AlgorithmConfig]] = FedTinyConfig
    config: FedTinyConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="dynamic",
        density="fixed",
        payload="candidates once; gradients up, the mask down when it changes",
        citations=(references.FEDTINY,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean", default_density=0.2, default_allocation="erk"
    )

    @property
    def num_statistics(self) -> int:
        """Running statistics of the model, B."""
        return self.setting.layout.size - self.setting.layout.num_trainable

    def init(self, params: Tensor) -> FedTinyState:
        """The dense model, or the only candidate."""
        statistics = params[self.setting.layout.num_trainable :].repeat(self.config.candidates, 1)
        state = FedTinyState(params=params, statistics=statistics, refreshed=not self.num_statistics)
        return state if self.config.candidates > 1 else self.chosen(state, 0)

    def counts(self, candidate: int) -> dict[str, int]:
        """Weights of each layer in a candidate; all candidates have equally many weights."""
        layout, sparsity = self.setting.layout, self.setting.sparsity
        counts = allocate(layout, self.density(0), sparsity)
        if candidate == 0:
            return counts
        rng = stream(self.setting.seed, "server", "fedtiny", candidate)
        factors = rng.uniform(1.0 - self.config.spread, 1.0 + self.config.spread, len(counts))
        wanted = {
            name: n * factor for (name, n), factor in zip(counts.items(), factors.tolist(), strict=True)
        }
        return share_out(sum(counts.values()), wanted, {s.name: s.size for s in layout.maskable})

    def chosen(self, state: FedTinyState, candidate: int) -> FedTinyState:
        """The state in which this candidate trains, with its averaged statistics."""
        mask = magnitude_mask(self.setting.layout, state.params, self.counts(candidate))
        params = state.params * mask
        params[self.setting.layout.num_trainable :] = state.statistics[candidate]
        return replace(state, params=params, mask=mask)

    def plan_probe(self, state: FedTinyState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """Ask for statistics, then for losses, once."""
        if state.mask is not None:
            return None
        return RoundPlan.of(round_idx, cohort, "probe", int(state.refreshed))

    def broadcast(self, state: FedTinyState) -> Payload:
        """The model under its mask; before the selection also the candidates and their statistics."""
        payload = super().broadcast(state)
        if state.mask is not None:
            return payload
        layout = self.setting.layout
        masks = (magnitude_mask(layout, state.params, self.counts(c)) for c in range(self.config.candidates))
        payload += tuple(
            Bits(f"candidate-{c}", layout.restrict(mask).numpy()) for c, mask in enumerate(masks)
        )
        return (
            (*payload, Dense(_STATISTICS, state.statistics.reshape(-1).numpy()))
            if state.refreshed
            else payload
        )

    def on_probe(self, run: LocalRun[None]) -> Payload:
        """The refreshed statistics of each candidate, or its loss with the averaged ones."""
        asks_losses = any(item.name == _STATISTICS for item in run.payload)
        start, num_trainable, answers = run.start.clone(), self.setting.layout.num_trainable, []
        for candidate in range(self.config.candidates):
            bits = torch.tensor(find_bits(run.payload, f"candidate-{candidate}"))
            if asks_losses:
                statistics = torch.tensor(find_values(run.payload, _STATISTICS)).view(
                    self.config.candidates, -1
                )
                start[num_trainable:] = statistics[candidate]
            run.load(start, self.setting.layout.expand(bits))
            loss = self.pass_over_samples(run, training=not asks_losses)
            answers.append(
                np.array([loss], np.float32)
                if asks_losses
                else run.values[num_trainable:].cpu().numpy().copy()
            )
        return (Dense(_LOSSES if asks_losses else _STATISTICS, np.concatenate(answers)),)

    def pass_over_samples(self, run: LocalRun[None], *, training: bool) -> float:
        """Run all samples forward, which refreshes the statistics in train mode; returns the mean loss."""
        run.flat.module.train(training)
        total = 0.0
        with torch.no_grad():
            for inputs, labels in next(run.batches("selection", 1, repeats=False)):
                total += float(cross_entropy(run.flat(inputs), labels, reduction="sum"))
                run.flops.add_forward(len(labels))
        return total / len(run.data)

    def probe_update(self, state: FedTinyState, aggregate: Aggregate, round_idx: int) -> FedTinyState:
        """Store the mean statistics, or choose the candidate with the smallest mean loss."""
        if _STATISTICS in aggregate.extras:
            statistics = aggregate.extras[_STATISTICS].to(torch.float32).view_as(state.statistics)
            return replace(state, statistics=statistics, refreshed=True)
        return self.chosen(state, int(aggregate.extras[_LOSSES].argmin()))

    def changes(self, round_idx: int, active: Mapping[str, int]) -> dict[str, int]:
        """k_l of each layer in this round; 0 in rounds and for layers that do not change."""
        names = list(active)
        due, alpha = self.is_due(round_idx), self.config.alpha
        share = cosine_anneal(alpha, round_idx, self.config.stop_round) if due else 0.0
        if self.config.unit == "layer":
            names = [names[round_idx // self.config.interval % len(names)]]
        sizes = {s.name: s.size for s in self.setting.layout.maskable}
        return {
            name: min(floor(share * n), n - 1, sizes[name] - n) if name in names else 0
            for name, n in active.items()
        }

    def is_due(self, round_idx: int) -> bool:
        """Whether the mask may change in this round."""
        return round_idx > 0 and round_idx % self.config.interval == 0

    def pack(self, run: LocalRun[None]) -> Payload:
        """The model; in rounds in which the mask may change, also the largest gradients of pruned weights."""
        payload = super().pack(run)
        if run.mask is None or not self.is_due(run.task.round_idx):  # a dry run trains before the probes
            return payload
        layout, mask = self.setting.layout, run.mask
        changes = self.changes(run.task.round_idx, layout.active(mask))
        gradient = torch.zeros(layout.size)
        (sampled,) = run.sampled_gradients(_GROWTH, 1)
        gradient[: sampled.numel()] = sampled.cpu()
        best = layout.restrict(keep_top(layout, ~mask, gradient.abs(), changes))
        return (*payload, Masked(_GROWTH, layout.restrict(gradient)[best].numpy(), best.numpy()))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """Statistics, then losses from the probes; the model from training, with gradients if the mask may change."""
        layout, num_candidates = self.setting.layout, self.config.candidates
        if task.kind == "probe":
            if task.probe_idx:
                return {_LOSSES: ItemForm(kinds=(Dense,), size=num_candidates)}
            return {_STATISTICS: ItemForm(kinds=(Dense,), size=num_candidates * self.num_statistics)}
        if not self.is_due(task.round_idx):
            return super().upload_items(task)
        return {**super().upload_items(task), _GROWTH: ItemForm(kinds=(Masked,), size=layout.num_maskable)}

    def server_update(self, state: FedTinyState, aggregate: Aggregate, round_idx: int) -> FedTinyState:
        """The mean; with gradients, those with the largest ones replace the smallest weights of each layer."""
        assert state.mask is not None
        params, mask, layout = aggregate.values.to(torch.float32), state.mask, self.setting.layout
        if _GROWTH in aggregate.extras:
            active = layout.active(mask)
            kept = {name: active[name] - k for name, k in self.changes(round_idx, active).items()}
            score = torch.zeros(layout.size, dtype=torch.float64)
            score[~layout.expand(torch.zeros(layout.num_maskable, dtype=torch.bool))] = aggregate.extras[
                _GROWTH
            ].abs()
            survivors = keep_top(layout, mask, params.abs(), kept)
            mask = grow_top(layout, survivors, score, active, exclude=mask & ~survivors)
        return replace(state, params=params * mask, mask=mask)
