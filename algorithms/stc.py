"""STC (sparse ternary compression): both ends send a few entries of their change, with one absolute value.

FedAvg whose clients and server send only the p entries of their change with the largest absolute values, all with the
same absolute value mu, the mean of these entries. Each sender adds what it did not send to its next change.

Symbols: STC(x) = mu sign(x) at the k = ceil(p D) largest |x| and 0 elsewhere, A_k = client_state.residual, A =
state.residual, p = 1 - sparsity.level, W = state.params. Client: u = (w_k - W) + A_k, sends STC(u), A_k = u - STC(u).
Server: U = mean STC(u_k) + A, W <- W + STC(U), A = U - STC(U).

A client keeps the last model that it received. If it missed no round it downloads the server's last STC(U), else the
new values at all positions that have changed since then.

Seen: the abstract and the public code (felisat/federated-learning). Not seen: the paper's text.

Deviations:

- p applies to all D entries together, running statistics included; `scope=layer` to each tensor, as in the code.
- mu is the mean of exactly k entries. In the code, further entries of the size of the smallest of these get mu as well.
- A client that missed rounds gets new values, not the sum of the missed updates, so that its model is exactly W.
- Positions are coded by the wire format. Its Golomb-Rice code is the paper's code up to the choice of the parameter.
- `ternary=false` sends the values of the largest entries themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Aggregate,
    Aggregator,
    Algorithm,
    AlgorithmConfig,
    Bits,
    Capabilities,
    ClientTask,
    ConfigError,
    Contribution,
    Dense,
    ItemForm,
    LocalRun,
    Masked,
    ModelValues,
    Payload,
    ServerState,
    Traits,
    WireError,
    as_sent,
    exact_share,
    find_bits,
    find_values,
    select_top,
)

_UPDATE, _CHANGED = "update", "changed"
_POSITIONS, _SIGNS = "positions", "signs"
#: mu of a client's change and of the server's, by which the receiver knows whose change it is
_MU, _SERVER_MU = "mu", "server_mu"


class STCConfig(AlgorithmConfig):
    """Options of sparse ternary compression."""

    ternary: bool = Field(True, description="send mu and signs; false: the values of the largest entries")
    scope: Literal["global", "layer"] = Field(
        "global", description="rank the entries of the whole change, or those of each tensor by itself"
    )
    agg_weight: Literal["uniform", "samples"] = Field(
        "uniform", description="weight the clients equally, or by their samples"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class STCState(ServerState):
    """Adds A and the last STC(U), float32[D] each, and the number of rounds that made this model."""

    residual: Tensor
    sent: Tensor
    num_rounds: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class STCClient:
    """State of a client: A_k and the model that it received last, float32[D] each, and that model's `num_rounds`."""

    residual: Tensor
    model: Tensor
    num_rounds: int = 0


class _TernaryMean(Aggregator):
    """The mean of STC(u_k), which it decodes first."""

    def __init__(self, method: "STC") -> None:
        super().__init__()
        self._method = method

    def add(self, contribution: Contribution) -> None:
        """See Aggregator."""
        sent = self._method.decoded(contribution.items, _MU)
        super().add(replace(contribution, items=(Dense(_UPDATE, sent.numpy()),)))

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        return server


@final
class STC(Algorithm[STCState, STCClient]):
    """FedAvg with sparse ternary changes in both directions."""

    Config: ClassVar[type[AlgorithmConfig]] = STCConfig
    config: STCConfig
    traits: ClassVar[Traits] = Traits(
        structure="update",
        when="each round",
        density="fixed",
        payload="positions and signs, both ways",
        citations=(references.STC,),
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        default_density=0.01, steady_cost=True, density_schedule=True, exact_values=True
    )

    def check(self) -> None:
        """Reject densities by layer, because the model stays dense."""
        if self.setting.sparsity.allocation == "explicit":
            problem = "stc sends the largest entries of all layers"
            raise ConfigError("sparsity.allocation", "explicit", problem, "set sparsity.level instead")

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: the level is the update's, and the model is dense."""
        return 1.0

    def weight(self, num_examples: int) -> float:
        """1, or the client's number of samples, as `agg_weight` says."""
        return 1.0 if self.config.agg_weight == "uniform" else float(num_examples)

    def init(self, params: Tensor) -> STCState:
        """Nothing has been sent."""
        return STCState(params=params, residual=torch.zeros_like(params), sent=torch.zeros_like(params))

    def init_client(self, client_id: int) -> STCClient:
        """Every client has the initial model."""
        model = torch.from_numpy(self.setting.initial.copy())
        return STCClient(residual=torch.zeros_like(model), model=model)

    def broadcast(self, state: STCState) -> Payload:
        """Nothing: `unicast` sends every client what its model lacks."""
        return ()

    def unicast(self, state: STCState, task: ClientTask, client_state: STCClient) -> Payload:
        """STC(U) to a client with the model before it; to others the values that differ from their model."""
        has_exact_model = self.config.ternary and self.setting.value_dtype == "float32"
        if has_exact_model and state.num_rounds == client_state.num_rounds + 1:
            return self.encoded(state.sent, state.sent != 0, _SERVER_MU)
        changed = state.params != client_state.model
        return (Masked(_CHANGED, state.params[changed].numpy(), changed.numpy()),)

    def unpack(self, payload: Payload, task: ClientTask, client_state: STCClient) -> ModelValues | None:
        """The client's model after the server's change. An upload has no model, and only its form is checked."""
        for item in payload:
            if item.name == _CHANGED and isinstance(item, Masked):
                model = client_state.model.clone()
                model[torch.tensor(item.indices)] = torch.tensor(item.values)
                return ModelValues(model, None)
            if item.name == _SERVER_MU:
                return ModelValues(client_state.model + self.decoded(payload, _SERVER_MU), None)
            if item.name == _MU:
                self.decoded(payload, _MU)
        return None

    def pack(self, run: LocalRun[STCClient]) -> Payload:
        """Send STC(u); A_k is the rest of u."""
        update = (run.values - run.start).detach().cpu() + run.state.residual
        mask, sent = self.compressed(update, run.task.round_idx)
        model = run.start.detach().cpu().clone()
        run.state = STCClient(residual=update - sent, model=model, num_rounds=run.task.round_idx)
        if self.config.ternary:
            return self.encoded(sent, mask, _MU)
        return (Masked(_UPDATE, sent[mask].numpy(), mask.numpy()),)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The positions, signs and sizes of the sent entries, or their values."""
        size, num_sent = self.setting.layout.size, sum(self.counts(task.round_idx))
        if not self.config.ternary:
            return {_UPDATE: ItemForm(kinds=(Masked,), size=size, max_values=num_sent)}
        return {
            _POSITIONS: ItemForm(kinds=(Bits,), size=size),
            _SIGNS: ItemForm(kinds=(Bits,), size=num_sent),
            _MU: ItemForm(kinds=(Dense,), size=len(self.parts)),
        }

    def aggregator(self) -> Aggregator:
        """The mean of the sent changes; an entry that a client did not send counts as 0."""
        return _TernaryMean(self) if self.config.ternary else super().aggregator()

    def server_update(self, state: STCState, aggregate: Aggregate, round_idx: int) -> STCState:
        """Add STC(U) to the model."""
        update = (aggregate.extras[_UPDATE] + state.residual).to(torch.float32)
        _, sent = self.compressed(update, round_idx)
        return STCState(
            params=state.params + sent, residual=update - sent, sent=sent, num_rounds=round_idx + 1
        )

    @property
    def parts(self) -> tuple[slice, ...]:
        """The positions that are ranked together: all of them, or each tensor's."""
        layout = self.setting.layout
        if self.config.scope == "global":
            return (slice(0, layout.size),)
        return tuple(segment.slice for segment in layout.segments if segment.size)

    def counts(self, round_idx: int) -> tuple[int, ...]:
        """k = ceil(p n), at least one, of each part's n entries."""
        exact = exact_share(self.density(round_idx))
        return tuple(max(1, ceil(exact * (part.stop - part.start))) for part in self.parts)

    def compressed(self, update: Tensor, round_idx: int) -> tuple[Tensor, Tensor]:
        """The largest entries, bool[D], and what is sent of float32[D] `update`: STC(update), or their values."""
        mask, sent = torch.ones_like(update, dtype=torch.bool), torch.zeros_like(update)
        for part, count in zip(self.parts, self.counts(round_idx), strict=True):
            size = update[part].abs()
            mask[part] = select_top(mask[part], size, count)
            values = update[part]
            if self.config.ternary:
                values = torch.where(values > 0, 1.0, -1.0) * size[mask[part]].mean()
            sent[part] = as_sent(values, self.setting.value_dtype) * mask[part]
        return mask, sent

    def encoded(self, sent: Tensor, mask: Tensor, mu_name: str) -> Payload:
        """Ternary float32[D] values at the positions bool[D] `mask`; every part has one absolute value."""
        mu = torch.stack([sent[part].abs().max() for part in self.parts])
        return (
            Bits(_POSITIONS, mask.numpy()),
            Bits(_SIGNS, (sent[mask] > 0).numpy()),
            Dense(mu_name, mu.numpy()),
        )

    def decoded(self, payload: Payload, mu_name: str) -> Tensor:
        """float32[D]: the values that `encoded` sent. Raises WireError for another number of signs than positions."""
        mask = torch.tensor(find_bits(payload, _POSITIONS))
        signs, mu = torch.tensor(find_bits(payload, _SIGNS)), torch.tensor(find_values(payload, mu_name))
        num_sent = int(mask.count_nonzero())
        if signs.numel() != num_sent:
            raise WireError(f"expected a sign for each of {num_sent} positions, got {signs.numel()}")
        sent = torch.zeros(mask.numel())
        sent[mask] = torch.where(signs, 1.0, -1.0)
        for part, size in zip(self.parts, mu, strict=True):
            sent[part] *= size
        return sent
