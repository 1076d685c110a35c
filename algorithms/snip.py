"""SNIP: one pruning step before training, by the effect of each weight on the loss.

Before training, the method ranks the weights of all layers together by |gradient x weight| on the dense initial model.
It keeps the weights whose removal would change the loss most, and FedAvg runs inside this mask.

Symbols: g = the gradient at w_0 = setting.initial, s = |g w_0|, m = state.mask, density = 1 - sparsity.level, P =
layout.num_maskable.

Deviations:

- The paper has no federation. `score_from` selects the gradient: that of one client, in place of data at the server;
  the first round's FedAvg step, g ~ (w_0 - mean(w_k)) / eta; or the gradients of all clients.
- The FedAvg step is that of public code of PruneFL. Training then continues from the averaged weights inside the mask.
- The server averages the scores of all clients by samples.
- Scores are not normalised, which does not change the chosen set.
- `least_per_layer` = 1 keeps every layer connected. The paper does not ensure this.
- The gradient uses train mode, because at w_0 batch norm has no statistics of data yet.
"""

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    AlgorithmConfig,
    LocalRun,
    MaskAtStartAlgorithm,
    MaskAtStartConfig,
    ServerState,
    Traits,
)


class SNIPConfig(MaskAtStartConfig):
    """Options of SNIP."""

    score_from: Literal["one_client", "first_round", "all_clients"] = Field(
        "one_client",
        description="whose gradient: one client's, the first round's mean step, or each client's",
    )


@final
class SNIP(MaskAtStartAlgorithm):
    """FedAvg inside a mask chosen by connection sensitivity."""

    Config: ClassVar[type[AlgorithmConfig]] = SNIPConfig
    config: SNIPConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="at start",
        density="fixed",
        payload="scores up once, the mask once, down",
        citations=(references.SNIP,),
        related=(references.PRUNEFL,),
    )

    @property
    def score_clients(self) -> tuple[int, ...]:
        """One client, all clients, or none if the first round gives the scores."""
        if self.config.score_from == "one_client":
            return (self.config.probe_client,)
        return tuple(range(self.setting.num_clients)) if self.config.score_from == "all_clients" else ()

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1 in a first round that gives the scores. A probe is dense as well."""
        dense = self.config.score_from == "first_round" and round_idx == 0
        return 1.0 if dense else self.density(0)

    def scores(self, run: LocalRun[None]) -> Tensor:
        """s at the received model."""
        total = torch.zeros_like(run.grad)
        for gradient in run.sampled_gradients("sensitivity", self.config.batches):
            total += gradient
        return (total / self.config.batches * run.values[: total.numel()]).abs()

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """The mean; after a first round that gives the scores, under the mask of these scores."""
        if state.mask is not None:
            return super().server_update(state, aggregate, round_idx)
        step = state.params.to(torch.float64) - aggregate.values
        scores = self.setting.layout.restrict((step * state.params).abs())
        return self.masked(aggregate.values.to(torch.float32), scores)
