"""Top-k with error feedback: clients send the largest entries of their change, and add the rest to the next change.

FedAvg whose clients upload only the k entries of their change with the largest absolute values. A client adds the
entries that it did not send to its next change. The model stays dense.

Symbols: Delta_k = w_k - w_r, e_k = client_state.residual, u = Delta_k + e_k, k = ceil((1 - sparsity.level) D): here the
level is that of the update, and a schedule or `sparsity.device_levels` move it.

Deviations:

- Values are sent without quantisation. Sattler et al. make them ternary.
- The download is the whole model, not the changes since the client's last participation.
- All D entries are ranked together, a model's running statistics included. `scope=layer` ranks each tensor separately,
  and k is the ceiling of the tensor's own share. `sparsity.allocation` therefore has no effect.
- The papers do not define what happens to the residual of an absent client. The option `residual` decides.
- With `wire.value_dtype=float16` or `bfloat16` the residual contains the rounding error of the sent values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
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
    ItemForm,
    LocalRun,
    Masked,
    Payload,
    ServerState,
    Traits,
    as_sent,
    exact_share,
    select_top,
)

_UPDATE = "update"


class TopKConfig(AlgorithmConfig):
    """Options of top-k sparsification."""

    scope: Literal["global", "layer"] = Field(
        "global", description="rank the entries of the whole update, or those of each tensor by itself"
    )
    residual: Literal["keep", "discount", "drop"] = Field(
        "keep",
        description="residual of an absent client: kept, multiplied by `discount` for each missed round, or dropped",
    )
    discount: float = Field(
        0.9, ge=0.0, le=1.0, description="factor on the residual per round missed (residual=discount)"
    )
    max_missed: int = Field(
        10, ge=0, description="missed rounds after which the residual is dropped (residual=drop)"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class TopKClient:
    """State of a client: e_k, float32[D], the change not sent yet; the round of its last participation, or -1."""

    residual: Tensor
    last_round: int = -1


@final
class TopK(Algorithm[ServerState, TopKClient]):
    """FedAvg with sparse updates and error feedback."""

    Config: ClassVar[type[AlgorithmConfig]] = TopKConfig
    config: TopKConfig
    traits: ClassVar[Traits] = Traits(
        structure="update",
        when="each round",
        density="fixed",
        payload="positions of the values, up",
        citations=(references.MEMORY_SGD, references.STC),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        default_density=0.01,
        steady_cost=True,
        density_schedule=True,
        device_densities=True,
        exact_values=True,
    )

    def check(self) -> None:
        """Reject densities by layer, because the model stays dense."""
        if self.setting.sparsity.allocation == "explicit":
            problem = "topk sends the largest entries of all layers"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level instead")

    def max_density(self, round_idx: int, client_id: int) -> float:
        """The level is the update's; the model travels dense."""
        return 1.0

    def init_client(self, client_id: int) -> TopKClient:
        """The residual starts at 0."""
        return TopKClient(residual=torch.zeros(self.setting.layout.size))

    def pack(self, run: LocalRun[TopKClient]) -> Payload:
        """Send the largest entries of u; e_k is the rest of it."""
        task = run.task
        update = (run.values - run.start).detach().cpu() + self.decayed_residual(run.state, task.round_idx)
        sent = self.largest(update, self.density(task.round_idx, task.client_id))
        values = as_sent(update[sent], self.setting.value_dtype)
        residual = update.clone()
        residual[sent] -= values
        run.state = TopKClient(residual=residual, last_round=task.round_idx)
        return (Masked(_UPDATE, values.numpy(), sent.numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The largest entries of the update, at most as many as the level allows."""
        allowed = sum(self.counts(self.density(task.round_idx, task.client_id)))
        return {_UPDATE: ItemForm(kinds=(Masked,), size=self.setting.layout.size, max_values=allowed)}

    def decayed_residual(self, client: TopKClient, round_idx: int) -> Tensor:
        """float32[D]: the residual after the rounds that the client missed."""
        missed = round_idx - client.last_round - 1
        if self.config.residual == "discount":
            return client.residual * self.config.discount**missed
        if self.config.residual == "drop" and missed > self.config.max_missed:
            return torch.zeros_like(client.residual)
        return client.residual

    @property
    def parts(self) -> tuple[slice, ...]:
        """The positions that are ranked together: all of them, or each tensor's."""
        layout = self.setting.layout
        if self.config.scope == "global":
            return (slice(0, layout.size),)
        return tuple(segment.slice for segment in layout.segments if segment.size)

    def counts(self, density: float) -> tuple[int, ...]:
        """k = ceil(density n), at least one, of each part's n entries."""
        exact = exact_share(density)
        return tuple(max(1, ceil(exact * (part.stop - part.start))) for part in self.parts)

    def largest(self, update: Tensor, density: float) -> Tensor:
        """bool[D]: in each part the k entries of largest size."""
        chosen = torch.ones_like(update, dtype=torch.bool)
        for part, count in zip(self.parts, self.counts(density), strict=True):
            chosen[part] = select_top(chosen[part], update[part].abs(), count)
        return chosen

    def server_update(self, state: ServerState, aggregate: Aggregate, round_idx: int) -> ServerState:
        """Add the mean of the sent changes; an entry that a client did not send counts as 0."""
        params = state.params.to(torch.float64) + aggregate.extras[_UPDATE]
        return ServerState(params=params.to(torch.float32))
