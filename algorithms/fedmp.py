"""FedMP: the server prunes the model for each client, and a bandit chooses how much.

In each round the server prunes the model for each client: it keeps the units with the largest L1 norms. A bandit for
each client learns the keep ratio, from the decrease of the client's loss and the gap between its time and the mean
time. The server adds the residual, which are the pruned entries, to each returned submodel and averages the results
(R2SP). This is the server's model plus the mean change, where a pruned entry counts as unchanged.

Symbols: w = state.params, alpha_k = 1 - the keep ratio, L_k = state.losses[k], T_k = the client's emulated time,
reward = (last L_k - L_k) / (|T_k / mean(T) - 1| + algorithm.time_floor), lambda = algorithm.discount,
theta = algorithm.least_width.

Seen: the abstract, and the FedMP baseline in the public code of FedLPS. Not seen: the paper's text and its own code.

Deviations:

- E-UCB is written as a discounted UCB over intervals that split where they are played (`_fedmp_bandit.py`). The code
  of FedLPS has an epsilon-greedy variant of Efficient-UCBV in its place.
- Relative times and `time_floor` keep the reward bounded. A client's first task gives the reward 0.
- The server keeps max(1, floor(ratio J)) of the J units of each group of coupled layers, so that submodels are dense
  models. The last layer keeps its outputs.
- The client repeats the bits of its units in its upload.
- `personal/` metrics score the whole model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from algorithms._fedmp_bandit import KeepRatioBandit, choose, credit, new_bandit
from orchestrator.method import (
    Aggregate,
    AlgorithmConfig,
    Capabilities,
    ChosenUnitsAlgorithm,
    ClientTask,
    ItemForm,
    KeptUnits,
    LocalRun,
    Payload,
    Scalar,
    ServerState,
    Traits,
    stream,
    unit_sums,
)

_REWARD, _LOSS, _SECONDS = "reward", "loss", "seconds"


class FedMPConfig(AlgorithmConfig):
    """Options of FedMP."""

    min_ratio: float = Field(
        0.2, gt=0.0, le=1.0, description="smallest keep ratio; 1: FedAvg of equal clients"
    )
    discount: float = Field(
        0.95, gt=0.0, le=1.0, description="lambda, weight of a play after each further play"
    )
    least_width: float = Field(0.05, ge=0.0, description="theta, width up to which an arm is not split")
    time_floor: float = Field(0.1, gt=0.0, description="added to the relative gap of times in the reward")


@dataclass(frozen=True, kw_only=True, eq=False)
class FedMPState(ServerState):
    """Adds of each client the loss of its last task (-1: none) and that task's reward, float64[N] each."""

    losses: Tensor
    rewards: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class FedMPClient:
    """State of a client: its bandit, which the server derives as well."""

    bandit: KeepRatioBandit


@final
class FedMP(ChosenUnitsAlgorithm[FedMPState, FedMPClient]):
    """FedAvg of submodels whose sizes a bandit chooses for each client."""

    Config: ClassVar[type[AlgorithmConfig]] = FedMPConfig
    config: FedMPConfig
    capabilities: ClassVar[Capabilities] = replace(ChosenUnitsAlgorithm.capabilities, aggregation="dmean")
    traits: ClassVar[Traits] = Traits(
        scope="per device",
        structure="structured",
        when="each round",
        density="adaptive",
        payload="unit bits both ways; loss and time up, reward down",
        citations=(references.FEDMP,),
    )

    @classmethod
    def depends_on_devices(cls, config: AlgorithmConfig) -> bool:
        """True: the reward depends on the client's time."""
        return True

    def init(self, params: Tensor) -> FedMPState:
        """No client has a loss yet."""
        zeros = torch.zeros(len(self.setting.population), dtype=torch.float64)
        return FedMPState(params=params, losses=zeros - 1.0, rewards=zeros)

    def init_client(self, client_id: int) -> FedMPClient:
        """A bandit with one arm."""
        return FedMPClient(bandit=new_bandit(self.config.min_ratio))

    def check_client_state(self, client_state: FedMPClient) -> None:
        """Reject a bandit whose arms are no partition of [min_ratio, 1], and plays without rewards."""
        bandit = client_state.bandit
        edges, ends = bandit.edges, (self.config.min_ratio, 1.0)
        if len(edges) < 2 or (float(edges[0]), float(edges[-1])) != ends or bool((edges.diff() < 0).any()):
            raise ValueError(f"the bandit's arms do not partition [{ends[0]}, 1]")
        if len(bandit.ratios) != len(bandit.rewards):
            raise ValueError("the bandit's plays and rewards differ in number")

    def weight(self, num_examples: int) -> float:
        """All participants count equally."""
        return 1.0

    def played(self, bandit: KeepRatioBandit, reward: float, task: ClientTask) -> KeepRatioBandit:
        """The bandit after the reward of its last play and the choice for this task; both ends derive it."""
        rng = stream(self.setting.seed, *task.stream_path, "ratio")
        return choose(credit(bandit, reward), self.config.discount, self.config.least_width, rng)

    def largest_units(self, params: Tensor, ratio: float) -> KeptUnits:
        """The max(1, floor(ratio J)) units of each group with the largest L1 norms, in ascending order."""
        norms = unit_sums(self.setting.layout, self.setting.units, params.abs(), "output")
        return {
            name: norm.argsort(descending=True, stable=True)[: max(1, floor(ratio * len(norm) + 1e-9))]
            .sort()
            .values
            for name, norm in norms.items()
        }

    def broadcast(self, state: FedMPState) -> Payload:
        """Nothing: `unicast` sends every client its units."""
        return ()

    def unicast(self, state: FedMPState, task: ClientTask, client_state: FedMPClient) -> Payload:
        """The client's units and the reward of its last task. Outside training, all units."""
        reward = float(state.rewards[task.client_id])
        ratio = 1.0 if task.kind != "train" else self.played(client_state.bandit, reward, task).pending
        units = self.pack_units(state.params, self.largest_units(state.params, ratio))
        return (*units, Scalar(_REWARD, reward))

    def after_train(self, run: LocalRun[FedMPClient]) -> None:
        """Derive the bandit as the server did."""
        (reward,) = (item.value for item in run.payload if isinstance(item, Scalar))
        run.state = FedMPClient(bandit=self.played(run.state.bandit, reward, run.task))

    def pack(self, run: LocalRun[FedMPClient]) -> Payload:
        """The trained submodel, its units, the mean loss and the emulated time."""
        loss, seconds = run.statistics.mean_loss(), run.emulated_s()
        return (*super().pack(run), Scalar(_LOSS, loss), Scalar(_SECONDS, seconds))

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The submodel, its units, loss and time."""
        scalar = ItemForm(kinds=(Scalar,))
        return {**super().upload_items(task), _LOSS: scalar, _SECONDS: scalar}

    def server_update(self, state: FedMPState, aggregate: Aggregate, round_idx: int) -> FedMPState:
        """Add the mean change (R2SP), and compute the rewards of the participants."""
        losses, rewards = state.losses.clone(), state.rewards.clone()
        seconds = aggregate.scalars[_SECONDS]
        mean_s = sum(seconds.values()) / len(seconds)
        for k, loss in aggregate.scalars[_LOSS].items():
            gap = abs(seconds[k] / mean_s - 1.0) + self.config.time_floor
            rewards[k] = (float(losses[k]) - loss) / gap if losses[k] >= 0 else 0.0
            losses[k] = loss
        return FedMPState(params=aggregate.values.to(torch.float32), losses=losses, rewards=rewards)
