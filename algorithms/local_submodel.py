"""Local training of a submodel: every client trains alone the model that its device can hold, without communication.

This is the baseline for personal submodels, as in FedLPS. A federation is useful only if its personal submodels are
more accurate.

Each client trains the first units of each layer of its own model, from the common initial model.

Symbols: w_k = client_state.params, rho_k = ratio, K_l = num_units of a group, kept = the first ceil(rho_k K_l) units.

Deviations: none known. If the devices of a fleet change, a client keeps one model, and trains as many of its units as
the device of the round can hold. It is scored with the units that it trained last.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    Capabilities,
    ClientRatio,
    ClientTask,
    ItemForm,
    KeptUnits,
    LocalRun,
    ModelValues,
    Payload,
    RoundPlan,
    ServerState,
    StructuredAlgorithm,
    StructuredConfig,
    Traits,
    bits_to_units,
    first_units,
    units_to_bits,
)


class LocalSubmodelConfig(StructuredConfig):
    """Options of local training of a submodel."""

    participation: Literal["all", "sampled"] = Field(
        "sampled",
        description="clients that train in a round: all of them, or training.clients_per_round sampled clients",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSubmodelClient(ClientRatio):
    """State of a client: its model, float32[D], and the units that it trained last, bool[sum J]."""

    params: Tensor
    units: Tensor


@final
class LocalSubmodel(StructuredAlgorithm[LocalSubmodelClient]):
    """Local training of a submodel of the device's size, without a federation."""

    Config = LocalSubmodelConfig
    config: LocalSubmodelConfig
    capabilities: ClassVar[Capabilities] = replace(StructuredAlgorithm.capabilities, upload_mask="within")
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="structured",
        when="per device",
        density="per device",
        personal=True,
        payload="no traffic",
        baseline_of=(references.FEDLPS,),
    )

    def init_client(self, client_id: int) -> LocalSubmodelClient:
        """Every client starts from the common initial model."""
        return LocalSubmodelClient(
            bandit=self.new_client_ratio(client_id).bandit,
            params=torch.from_numpy(self.setting.initial.copy()),
            units=torch.ones(sum(group.num_units for group in self.setting.units), dtype=torch.bool),
        )

    def kept(self, task: ClientTask, client_state: LocalSubmodelClient) -> KeptUnits:
        """The first units of each group."""
        return first_units(self.setting.units, self.counts(self.ratio(task, client_state)))

    def plan(self, state: ServerState, round_idx: int, cohort: tuple[int, ...]) -> RoundPlan:
        """The sampled cohort, or all clients under `participation=all`."""
        all_clients = tuple(range(self.setting.num_clients))
        return RoundPlan.of(round_idx, all_clients if self.config.participation == "all" else cohort)

    def unicast(self, state: ServerState, task: ClientTask, client_state: LocalSubmodelClient) -> Payload:
        """Nothing."""
        return ()

    def unpack(
        self, payload: Payload, task: ClientTask, client_state: LocalSubmodelClient
    ) -> ModelValues | None:
        """No message has a model."""
        return None

    def load(self, run: LocalRun[LocalSubmodelClient]) -> None:
        """Load the device's units of the client's own model."""
        run.load_submodel(run.state.params, self.kept(run.task, run.state))

    def after_train(self, run: LocalRun[LocalSubmodelClient]) -> None:
        """Store the trained units in the client's model."""
        assert run.index is not None
        params = run.state.params.clone()
        params[run.index] = run.values.detach().cpu()
        units = torch.from_numpy(units_to_bits(self.setting.units, run.kept))
        run.state = replace(run.state, bandit=self.updated_bandit(run), params=params, units=units)

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """Nothing."""
        return {}

    def pack(self, run: LocalRun[LocalSubmodelClient]) -> Payload:
        """Nothing."""
        return ()

    def personal(self, run: LocalRun[LocalSubmodelClient]) -> None:
        """The units that the client trained last; the device's units before its first participation."""
        if bool(run.state.units.all()):
            self.load(run)
        else:
            run.load_submodel(run.state.params, bits_to_units(self.setting.units, run.state.units.numpy()))
