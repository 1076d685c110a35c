"""Local: every client trains alone, without communication. This is the baseline for personalised methods such as Ditto.

Each client trains its own model from the common initial model, with the learning rate of the round.

Symbols: w_k = client_state.params, w_0 = setting.initial, R = training.rounds, E = training.local_epochs.

Deviations: none known. The server's model stays w_0, so that only the `personal/` metrics describe this method. By
default all clients train in every round, and `training.clients_per_round` has no effect. `participation=sampled`
trains only the sampled clients, as other methods do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Algorithm,
    AlgorithmConfig,
    ClientTask,
    ItemForm,
    LocalRun,
    Payload,
    RoundPlan,
    ServerState,
    Traits,
)


class LocalConfig(AlgorithmConfig):
    """Options of local training."""

    participation: Literal["all", "sampled"] = Field(
        "all",
        description="clients that train in a round: all of them, or training.clients_per_round sampled clients",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalClient:
    """State of a client: its own model, float32[D]."""

    params: Tensor


@final
class Local(Algorithm[ServerState, LocalClient]):
    """Local training without a federation."""

    Config: ClassVar[type[AlgorithmConfig]] = LocalConfig
    config: LocalConfig
    traits: ClassVar[Traits] = Traits(personal=True, payload="no traffic", baseline_of=(references.DITTO,))

    def init_client(self, client_id: int) -> LocalClient:
        """Every client starts from w_0."""
        return LocalClient(params=torch.from_numpy(self.setting.initial.copy()))

    def plan(self, state: ServerState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan:
        """All clients, or the sampled cohort under `participation=sampled`."""
        all_clients = tuple(range(self.setting.num_clients))
        return RoundPlan.of(round_idx, all_clients if self.config.participation == "all" else cohort)

    def broadcast(self, state: ServerState) -> Payload:
        """Nothing."""
        return ()

    def load(self, run: LocalRun[LocalClient]) -> None:
        """Load the client's own model."""
        run.load(run.state.params, None)

    def after_train(self, run: LocalRun[LocalClient]) -> None:
        """Store the trained model in the client's state."""
        run.state = replace(run.state, params=run.values.detach().cpu().clone())

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """Nothing."""
        return {}

    def pack(self, run: LocalRun[LocalClient]) -> Payload:
        """Nothing."""
        return ()
