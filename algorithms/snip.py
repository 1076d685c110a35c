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

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Algorithm,
    AlgorithmConfig,
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
    exact_share,
    keep_top_overall,
    reject_empty_layers,
)

_SENSITIVITY = "sensitivity"


class SNIPConfig(AlgorithmConfig):
    """Options of SNIP."""

    score_from: Literal["one_client", "first_round", "all_clients"] = Field(
        "one_client",
        description="whose gradient: one client's, the first round's mean step, or each client's",
    )
    probe_client: int = Field(0, ge=0, description="the client that scores (score_from=one_client)")
    batches: int = Field(1, ge=1, description="mini-batches over which a client averages its gradient")
    least_per_layer: int = Field(
        1,
        ge=0,
        description="weights that each layer keeps at least; 0: masks with an empty layer are rejected",
    )


@final
class SNIP(Algorithm[ServerState, None]):
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
    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", default_density=0.2)

    def check(self) -> None:
        """Reject an unknown `probe_client`, and a level at which a layer keeps fewer than `least_per_layer` weights."""
        layout, config, setting = self.setting.layout, self.config, self.setting
        if setting.sparsity.allocation == "explicit":
            problem = "snip ranks the weights of all layers together"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level instead")
        if config.score_from == "one_client" and config.probe_client >= setting.num_clients:
            problem = f"the clients are 0 to {setting.num_clients - 1}"
            raise ConfigError("algorithm.probe_client", config.probe_client, problem, "choose one of them")
        needed = sum(min(config.least_per_layer, s.size) for s in layout.maskable)
        if self.num_kept < needed:
            problem = (
                f"the mask keeps too few weights ({self.num_kept}), algorithm.least_per_layer needs {needed}"
            )
            raise ConfigError("sparsity.level", round(1.0 - self.density(0), 12), problem, "lower it")

    @property
    def num_kept(self) -> int:
        """round(density P), halves to the even number: weights that the mask keeps."""
        return round(exact_share(self.density(0)) * self.setting.layout.num_maskable)

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1 in a first round that gives the scores. A probe is dense as well."""
        dense = self.config.score_from == "first_round" and round_idx == 0
        return 1.0 if dense else self.density(0)

    def plan_probe(self, state: ServerState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """Ask for scores, once."""
        if self.config.score_from == "first_round" or state.mask is not None:
            return None
        one = (self.config.probe_client,)
        all_clients = tuple(range(self.setting.num_clients))
        return RoundPlan.of(
            round_idx, one if self.config.score_from == "one_client" else all_clients, "probe"
        )

    def on_probe(self, run: LocalRun[None]) -> Payload:
        """s, float32[P], at the received model."""
        total = torch.zeros_like(run.grad)
        for gradient in run.sampled_gradients(_SENSITIVITY, self.config.batches):
            total += gradient
        score = (total / self.config.batches * run.values[: total.numel()]).abs().cpu()
        return (Dense(_SENSITIVITY, self.setting.layout.restrict(score).numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The sensitivities of all maskable weights from a probe, the model from training."""
        if task.kind == "probe":
            return {_SENSITIVITY: ItemForm(kinds=(Dense,), size=self.setting.layout.num_maskable)}
        return super().upload_items(task)

    def probe_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Install the mask of the averaged scores."""
        return self._masked(state.params, aggregate.extras[_SENSITIVITY])

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """The mean; after a first round that gives the scores, under the mask of these scores."""
        params = aggregate.values.to(torch.float32)
        if state.mask is not None:
            return ServerState(params=params, mask=state.mask)
        step = state.params.to(torch.float64) - aggregate.values
        return self._masked(params, self.setting.layout.restrict((step * state.params).abs()))

    def _masked(self, params: Tensor, score: Tensor) -> ServerState:
        """The state inside the mask of largest float64[P] score."""
        layout = self.setting.layout
        mask = keep_top_overall(layout, score, self.num_kept, self.config.least_per_layer)
        reject_empty_layers(layout, mask, self.density(0))
        return ServerState(params=params * mask, mask=mask)
