"""The base of methods that choose one global mask before training: clients score the weights, and the server ranks.

A method implements `scores`, which a client computes on the dense initial model, and says which clients score.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.sparsity.exact import exact_share
from orchestrator.sparsity.masks import reject_empty_layers
from orchestrator.sparsity.payload import Dense, Payload
from orchestrator.sparsity.scores import keep_top_overall

_SCORES = "scores"


class MaskAtStartConfig(AlgorithmConfig):
    """Options of a method that chooses its mask before training."""

    probe_client: int = Field(0, ge=0, description="the client that scores (score_from=one_client)")
    batches: int = Field(1, ge=1, description="mini-batches over which a client averages its gradient")
    least_per_layer: int = Field(
        1,
        ge=0,
        description="weights that each layer keeps at least; 0: masks with an empty layer are rejected",
    )


class MaskAtStartAlgorithm(Algorithm[ServerState, None]):
    """FedAvg inside a mask of the weights with the largest scores over all layers."""

    Config: ClassVar[type[AlgorithmConfig]] = MaskAtStartConfig
    config: MaskAtStartConfig
    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", default_density=0.2)

    @property
    def score_clients(self) -> tuple[int, ...]:
        """The clients that score before the first round; none if the mask comes from elsewhere."""
        return (self.config.probe_client,)

    def scores(self, run: LocalRun[None]) -> Tensor:
        """float32[T]: a score of each trained parameter of the dense initial model; the largest are kept."""
        raise NotImplementedError(f"{type(self).__name__} does not score weights")

    def check(self) -> None:
        """Reject an unknown `probe_client`, and a level at which a layer keeps fewer than `least_per_layer` weights."""
        layout, config, setting = self.setting.layout, self.config, self.setting
        if setting.sparsity.allocation == "explicit":
            problem = f"{config.name} ranks the weights of all layers together"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level instead")
        if self.score_clients and max(self.score_clients) >= setting.num_clients:
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

    def plan_probe(self, state: ServerState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """Ask for scores, once."""
        if state.mask is not None or not self.score_clients:
            return None
        return RoundPlan.of(round_idx, self.score_clients, "probe")

    def on_probe(self, run: LocalRun[None]) -> Payload:
        """The scores of all maskable weights, float32[P]."""
        return (Dense(_SCORES, self.setting.layout.restrict(self.scores(run).cpu()).numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The scores of all maskable weights from a probe, the model from training."""
        if task.kind == "probe":
            return {_SCORES: ItemForm(kinds=(Dense,), size=self.setting.layout.num_maskable)}
        return super().upload_items(task)

    def probe_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Install the mask of the averaged scores."""
        return self.masked(state.params, aggregate.extras[_SCORES])

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """The mean, under the mask."""
        return ServerState(params=aggregate.values.to(torch.float32), mask=state.mask)

    def masked(self, params: Tensor, scores: Tensor) -> ServerState:
        """The state inside the mask of the largest scores, float64[P]."""
        layout = self.setting.layout
        mask = keep_top_overall(layout, scores, self.num_kept, self.config.least_per_layer)
        reject_empty_layers(layout, mask, self.density(0))
        return ServerState(params=params * mask, mask=mask)
