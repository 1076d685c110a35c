"""SSFL: the clients choose one sparse model together before training, by the effect of each weight on the loss.

Before training, every client scores each weight by how much removing it would change its loss, |gradient x weight|
on the dense initial model. The server averages the scores, keeps the largest of all layers together, and FedAvg
runs inside this mask.

Symbols: theta = state.params, m = state.mask, s_k = the client's saliency, p_k = n_k / sum n, rho = 1 -
sparsity.level, d = layout.num_maskable.

Deviations:

- The paper's body was not available. This follows the authors' README and public code, and the README where they
  differ.
- Scores are weighted by samples, as in the README. The code averages them plainly (`score_weight=uniform`: clients
  send s_k / n_k, which gives the same ranking).
- Exactly floor(rho d) weights are kept, and the lower index decides between equal scores. The code keeps all equal
  scores.
- Scores use evaluation mode, which matters only for batch norm and dropout (`score_mode`).
- The first round starts with the masked model. Clients receive the mask with the first model that they train.
- Masks with an empty layer are rejected.
- `random_clientwise` includes zeros in the average, as the code does.
- The paper's adaptation to shifted data is not implemented.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import floor
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
    ClientMask,
    ClientTask,
    ConfigError,
    Dense,
    ItemForm,
    LocalRun,
    Payload,
    RoundPlan,
    ServerState,
    SparsityConfig,
    Traits,
    allocate,
    exact_share,
    keep_top_overall,
    pack_model,
    random_mask,
    reject_empty_layers,
    stream,
)

_SALIENCY = "saliency"


class SSFLConfig(AlgorithmConfig):
    """Options of SSFL."""

    variant: Literal["saliency", "random_global", "random_layerwise", "random_clientwise"] = Field(
        "saliency",
        description="the mask: by saliency; random over all layers, in each layer, or for each client",
    )
    warmup_rounds: int = Field(0, ge=0, description="dense rounds before the mask is made")
    saliency_batches: int = Field(1, ge=1, description="mini-batches over which a client averages its scores")
    score_weight: Literal["samples", "uniform"] = Field(
        "samples", description="a client's weight in the mean score"
    )
    score_mode: Literal["eval", "train"] = Field("eval", description="mode of the model while it is scored")


@final
class SSFL(Algorithm[ServerState, ClientMask | None]):
    """FedAvg inside a mask that all clients' saliency chose."""

    Config: ClassVar[type[AlgorithmConfig]] = SSFLConfig
    config: SSFLConfig
    traits: ClassVar[Traits] = Traits(
        scope="global",
        structure="unstructured",
        when="at start",
        density="fixed",
        payload="scores up once, the mask once, down",
        citations=(references.SSFL,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(default_density=0.5)

    def check(self) -> None:
        """Reject a warm-up as long as the run, and options that contradict the variant."""
        sparsity, config, rounds = self.setting.sparsity, self.config, self.setting.training.rounds
        if sparsity.allocation == "explicit":
            problem = "ssfl ranks the weights of all layers together"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level instead")
        if config.warmup_rounds >= rounds:
            problem = f"training.rounds={rounds}, so that the run ends without a mask"
            raise ConfigError(
                "algorithm.warmup_rounds", config.warmup_rounds, problem, f"stay below {rounds}"
            )
        if self._clientwise and config.warmup_rounds:
            problem = "the masks of algorithm.variant=random_clientwise exist from round 0"
            raise ConfigError("algorithm.warmup_rounds", config.warmup_rounds, problem, "set it to 0")
        if config.variant in ("random_layerwise", "random_clientwise"):
            self._layer_counts()

    @property
    def num_kept(self) -> int:
        """floor(rho d): weights that the global mask keeps."""
        density = exact_share(self.density(0))
        return floor(density * self.setting.layout.num_maskable)

    @property
    def has_client_models(self) -> bool:
        """Whether clients have masks of their own."""
        return self._clientwise

    @property
    def _clientwise(self) -> bool:
        return self.config.variant == "random_clientwise"

    def _layer_counts(self) -> dict[str, int]:
        """floor(rho n_l) of each layer."""
        return allocate(self.setting.layout, self.density(0), SparsityConfig(allocation="uniform"))

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1.0 until the server has the mask, because the probe is dense too."""
        return 1.0 if round_idx < self.config.warmup_rounds else self.density(0)

    def init(self, params: Tensor) -> ServerState:
        """Return a masked state if round 0 starts with a random mask for all clients, else a dense state."""
        return self._before_round(params, 0)

    def init_client(self, client_id: int) -> ClientMask | None:
        """A mask of its own, which both ends derive from the seed (random_clientwise)."""
        if not self._clientwise:
            return None
        rng = stream(self.setting.seed, "client", client_id, "mask")
        return ClientMask(mask=random_mask(self.setting.layout, self._layer_counts(), rng))

    def plan_probe(self, state: ServerState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan | None:
        """After the warm-up, all clients score once."""
        due = round_idx >= self.config.warmup_rounds and state.mask is None
        if self.config.variant != "saliency" or not due:
            return None
        return RoundPlan.of(round_idx, tuple(range(self.setting.num_clients)), "probe")

    def broadcast(self, state: ServerState) -> Payload:
        """The model, unless each client gets its own weights of it."""
        return () if self._clientwise else super().broadcast(state)

    def unicast(self, state: ServerState, task: ClientTask, client_state: ClientMask | None) -> Payload:
        """The weights inside the client's mask, if it has one."""
        if client_state is None:
            return ()
        return (pack_model(self.setting.layout, state.params, client_state.mask),)

    def shared_mask(self, client_state: ClientMask | None) -> Tensor | None:
        """The client's own mask, which both ends derive from the seed."""
        return None if client_state is None else client_state.mask

    def on_probe(self, run: LocalRun[ClientMask | None]) -> Payload:
        """s_k, float32[d]: the mean over mini-batches of |gradient x weight|."""
        layout, config = self.setting.layout, self.config
        score, in_training = torch.zeros(layout.num_trainable), config.score_mode == "train"
        for gradient in run.sampled_gradients(_SALIENCY, config.saliency_batches, training=in_training):
            score += (gradient * run.values[: gradient.numel()]).abs().cpu()
        score /= config.saliency_batches
        if config.score_weight == "uniform":
            score /= len(run.data)
        return (Dense(_SALIENCY, layout.restrict(score).numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The saliencies of all maskable weights from a probe, the model from training."""
        if task.kind == "probe":
            return {_SALIENCY: ItemForm(kinds=(Dense,), size=self.setting.layout.num_maskable)}
        return super().upload_items(task)

    def probe_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Keep the weights of largest mean score; the others are 0 from now on."""
        mask = keep_top_overall(self.setting.layout, aggregate.extras[_SALIENCY], self.num_kept)
        return self._masked(state.params, mask)

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """FedAvg; a weight outside the masks of all clients of the round becomes 0."""
        params = aggregate.values.to(torch.float32)
        if state.mask is not None:
            return replace(state, params=params)
        if self._clientwise:
            assert aggregate.union is not None
            return replace(state, params=params * aggregate.union)
        return self._before_round(params, round_idx + 1)

    def _before_round(self, params: Tensor, round_idx: int) -> ServerState:
        """Return the state for the start of a round: masked if the random mask is made in this round, else dense."""
        layout, variant = self.setting.layout, self.config.variant
        if round_idx != self.config.warmup_rounds or variant in ("saliency", "random_clientwise"):
            return ServerState(params=params)
        rng = stream(self.setting.seed, "server", "mask")
        if variant == "random_layerwise":
            return self._masked(params, random_mask(layout, self._layer_counts(), rng))
        score = torch.from_numpy(rng.random(layout.num_maskable))
        return self._masked(params, keep_top_overall(layout, score, self.num_kept))

    def _masked(self, params: Tensor, mask: Tensor) -> ServerState:
        reject_empty_layers(self.setting.layout, mask, self.density(0))
        return ServerState(params=params * mask, mask=mask)
