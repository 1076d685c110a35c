"""The base of methods whose clients train a submodel: some units of each layer, as a smaller dense model.

A method implements `kept`, which returns the units of a client in a round. This base gathers, trains and scatters the
units and chooses the keep ratio. Server and client both derive the units from the task, so that no indices are sent.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import ClassVar, TypeVar, cast

import numpy as np
from pydantic import Field
from torch import Tensor

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.bases.keep_ratio import (
    Bandit,
    RatioPolicy,
    check_bandit,
    choose,
    credit,
    new_bandit,
    policy_ratio,
)
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import MODEL_ITEM, ModelValues, find_model, scatter
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.fleet.clock import client_time
from orchestrator.models.units.submodel import KeptUnits, submodel_index
from orchestrator.sparsity.payload import Dense, Payload, Scalar

_BYTES_PER_VALUE = 4


#: name of the item with the training accuracy of a client that has a bandit
TRAIN_ACCURACY = "train_accuracy"


class StructuredConfig(AlgorithmConfig):
    """Options of a method with submodels."""

    ratio_policy: RatioPolicy = Field(
        "capability",
        description="a client's keep ratio: `ratio` (fixed), `ratio` up to its device's capability (capped), the "
        "capability, or a bandit's choice up to that (p_ucbv)",
    )
    ratio: float = Field(
        1.0, gt=0.0, le=1.0, description="share of units kept (ratio_policy=fixed or capped)"
    )
    smallest_ratio: float = Field(
        1 / 8,
        gt=0.0,
        le=1.0,
        description="smallest ratio that the bandit tries; a weaker device uses its capability (ratio_policy=p_ucbv)",
    )
    cost_weight: float = Field(
        0.05, ge=0.0, description="accuracy that the bandit gives for the time of the full model"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientRatio:
    """State of a client: its bandit over keep ratios; None unless the policy is `p_ucbv`."""

    bandit: Bandit | None = None


C = TypeVar("C", bound=ClientRatio)


class StructuredAlgorithm(Algorithm[ServerState, C]):
    """FedAvg with submodels: the server averages each coordinate over the clients that trained it."""

    Config: ClassVar[type[AlgorithmConfig]] = StructuredConfig
    config: StructuredConfig
    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", submodels=True)

    @classmethod
    def depends_on_devices(cls, config: AlgorithmConfig) -> bool:
        """True unless all clients keep the same share of units.

        A bandit depends on the device because the capability bounds the ratio and the task's time is its cost.
        """
        assert isinstance(config, StructuredConfig)
        return config.ratio_policy != "fixed"

    def check(self) -> None:
        """Reject a `ratio` that the policy would ignore."""
        given = self.config.ratio != type(self.config).model_fields["ratio"].default
        if given and self.config.ratio_policy not in ("fixed", "capped"):
            problem = f"algorithm.ratio_policy={self.config.ratio_policy} chooses the ratio"
            remedy = "set algorithm.ratio_policy=fixed, or capped"
            raise ConfigError("algorithm.ratio", self.config.ratio, problem, remedy)

    def kept(self, task: ClientTask, client_state: C) -> KeptUnits:
        """Units of each group that the client trains in this task, as both ends derive them.

        A method whose clients choose their units overrides `unicast`, `unpack` and `load` instead.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say which units a client keeps")

    def init_client(self, client_id: int) -> C:
        """Only the state of the keep ratio."""
        return cast(C, self.new_client_ratio(client_id))

    def new_client_ratio(self, client_id: int) -> ClientRatio:
        """The state of the keep ratio before the client's first task."""
        if self.config.ratio_policy != "p_ucbv":
            return ClientRatio()
        capability = self.setting.population.largest_capability(client_id)
        return ClientRatio(bandit=new_bandit(min(1.0, self.config.smallest_ratio / capability)))

    def check_client_state(self, client_state: C) -> None:
        """Reject a bandit that cannot choose."""
        if client_state.bandit is not None:
            check_bandit(client_state.bandit)

    def ratio(self, task: ClientTask, client_state: C) -> float:
        """Keep ratio of the client in this task. Outside training, a client with a bandit uses its capability."""
        capability = self.setting.profile_of(task.client_id, task.round_idx).capability
        if client_state.bandit is None or task.kind != "train":
            policy = "capability" if client_state.bandit is not None else self.config.ratio_policy
            return policy_ratio(policy, self.config.ratio, capability)
        share = self._choose_arm(client_state.bandit, task)[1]
        return max(share * capability, min(self.config.smallest_ratio, capability))

    def counts(self, ratio: float) -> dict[str, int]:
        """ceil(ratio * J) units of each group of J."""
        return {group.name: max(1, ceil(ratio * group.num_units - 1e-9)) for group in self.setting.units}

    def broadcast(self, state: ServerState) -> Payload:
        """Nothing: `unicast` sends every client its own units."""
        return ()

    def unicast(self, state: ServerState, task: ClientTask, client_state: C) -> Payload:
        """The client's units of the global model, as one dense vector."""
        return (Dense(MODEL_ITEM, state.params[self.index(self.kept(task, client_state))].numpy()),)

    def index(self, kept: KeptUnits) -> Tensor:
        """int64: positions of the submodel's entries in the full vector."""
        return submodel_index(self.setting.layout, self.setting.units, kept)

    def unpack(self, payload: Payload, task: ClientTask, client_state: C) -> ModelValues | None:
        """Scatter the submodel into the full vector; other entries are 0 and outside the mask."""
        item = find_model(payload)
        return None if item is None else self.scatter(item.values, self.kept(task, client_state))

    def scatter(self, sub: np.ndarray[tuple[int], np.dtype[np.float32]], kept: KeptUnits) -> ModelValues:
        """A submodel's values in full coordinates. Raises WireError for a wrong number of values."""
        return scatter(sub, self.index(kept), self.setting.layout.size)

    def load(self, run: LocalRun[C]) -> None:
        """Load the client's units into a smaller model."""
        run.load_submodel(run.start, self.kept(run.task, run.state))

    def after_train(self, run: LocalRun[C]) -> None:
        """Update the bandit, if the client has one."""
        run.state = replace(run.state, bandit=self.updated_bandit(run))

    def pack(self, run: LocalRun[C]) -> Payload:
        """The trained submodel."""
        return (Dense(MODEL_ITEM, run.values.detach().cpu().numpy()),)

    def report(self, run: LocalRun[C]) -> Payload:
        """The training accuracy, from which the server derives the bandit's next choice; nothing without a bandit."""
        if run.state.bandit is None:
            return ()
        return (Scalar(TRAIN_ACCURACY, run.statistics.accuracy()),)

    def updated_bandit(self, run: LocalRun[C]) -> Bandit | None:
        """The client's bandit, updated with this task's training accuracy and emulated cost."""
        if run.state.bandit is None:
            return None
        played, _ = self._choose_arm(run.state.bandit, run.task)
        return credit(played, run.statistics.accuracy(), self.config.cost_weight * self.cost(run))

    def cost(self, run: LocalRun[C]) -> float:
        """Emulated time of the task, divided by the time of the full model on a device of capability 1."""
        profile = self.setting.profile_of(run.task.client_id, run.task.round_idx)
        full_bytes = _BYTES_PER_VALUE * self.setting.layout.size
        item = find_model(run.payload)
        task_s = client_time(
            profile,
            download_bytes=0 if item is None else _BYTES_PER_VALUE * item.values.size,
            train_flops=run.flops.total,
            unmasked_flops=run.flops.total_unmasked,
            upload_bytes=_BYTES_PER_VALUE * run.values.numel(),
        ).total_s
        full_flops = run.flops.total_dense * profile.capability
        full_s = client_time(
            profile,
            download_bytes=full_bytes,
            train_flops=full_flops,
            unmasked_flops=full_flops,
            upload_bytes=full_bytes,
        ).total_s
        return task_s / full_s

    def _choose_arm(self, bandit: Bandit, task: ClientTask) -> tuple[Bandit, float]:
        """The bandit after its choice, and the chosen share; every call in this round gives the same result."""
        training = self.setting.training
        horizon = training.rounds * training.clients_per_round / self.setting.num_clients
        rng = stream(self.setting.seed, "client", task.round_idx, task.client_id, "ratio")
        return choose(bandit, horizon, rng)
