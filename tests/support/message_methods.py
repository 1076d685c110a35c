"""Methods with messages of their own: `tests.support.message_methods:Class`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import pack_model
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import random_mask
from orchestrator.sparsity.payload import Bits, Payload, Scalar


class TailoredConfig(AlgorithmConfig):
    """The period of the masks."""

    renew_every: int = Field(100, ge=1, description="rounds for which a client keeps its mask")


@dataclass(frozen=True, kw_only=True, eq=False)
class Tailor:
    """Client state of `Tailored`: whether it has a mask, its last bool[D] mask, and its last model."""

    holds: bool
    mask: Tensor
    start: Tensor


@final
class Tailored(Algorithm[ServerState, Tailor]):
    """Each client gets its own half of the weights by unicast. The server adds the mean of the changes."""

    Config: ClassVar[type[AlgorithmConfig]] = TailoredConfig
    config: TailoredConfig
    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="dmean", default_density=0.5)

    def mask(self, task: ClientTask) -> Tensor:
        counts = allocate(self.setting.layout, self.density(0), self.setting.sparsity)
        number = task.round_idx // self.config.renew_every
        rng = stream(self.setting.seed, "client", task.client_id, "mask", number)
        return random_mask(self.setting.layout, counts, rng)

    def init_client(self, client_id: int) -> Tailor:
        size = self.setting.layout.size
        return Tailor(holds=False, mask=torch.zeros(size, dtype=torch.bool), start=torch.zeros(size))

    def broadcast(self, state: ServerState) -> Payload:
        return ()

    def unicast(self, state: ServerState, task: ClientTask, client_state: Tailor) -> Payload:
        return (pack_model(self.setting.layout, state.params, self.mask(task)),)

    def shared_mask(self, client_state: Tailor) -> Tensor | None:
        return client_state.mask if client_state.holds else None

    def on_train_start(self, run: LocalRun[Tailor]) -> None:
        assert run.received is not None
        assert run.received.mask is not None
        run.state = Tailor(holds=True, mask=run.received.mask.clone(), start=run.start.clone())


@dataclass(frozen=True, kw_only=True, eq=False)
class VotedState(ServerState):
    """The float64 means of the items that the clients of `Voting` sent last."""

    votes: Tensor
    ids: Tensor


@final
class Voting(Algorithm[VotedState, None]):
    """Clients train, and send three bits and their id instead of a model."""

    def init(self, params: Tensor) -> VotedState:
        zero = torch.zeros((), dtype=torch.float64)
        return VotedState(params=params, votes=zero.expand(3).clone(), ids=zero)

    def pack(self, run: LocalRun[None]) -> Payload:
        k = run.task.client_id
        return Bits("votes", np.array([k % 2 == 0, k > 2, True])), Scalar("id", float(k))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        return {"votes": ItemForm(kinds=(Bits,), size=3), "id": ItemForm(kinds=(Scalar,))}

    def server_update(self, state: VotedState, aggregate: Aggregate, round_idx: int) -> VotedState:
        return VotedState(
            params=aggregate.values.to(torch.float32),
            votes=aggregate.extras["votes"],
            ids=aggregate.extras["id"],
        )
