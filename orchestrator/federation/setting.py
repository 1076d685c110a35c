"""The frozen facts about a run that a method may read, besides its states and the messages."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import SparsityConfig
from orchestrator.config.training import TrainingConfig
from orchestrator.federation.device_assignment import device_of, device_stream
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.cost import ModelCost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.units.groups import UnitGroup
from orchestrator.sparsity.wire_frame import ValueDtype


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Facts about a run that server hooks and client hooks may read.

    - `initial`: the float32[D] initial model, which every client can derive from the seed.
    - `units`: the model's unit groups; () unless the method trains submodels.
    - `population`: the device of each client.
    - `value_dtype`: the type to which values are rounded in messages.
    - `smallest_batch`: the smallest mini-batch on which the model can be trained.
    """

    layout: ParameterLayout
    cost: ModelCost
    training: TrainingConfig
    sparsity: SparsityConfig
    num_clients: int
    seed: int
    initial: NDArray[np.float32]
    population: Population
    units: tuple[UnitGroup, ...] = ()
    value_dtype: ValueDtype = "float32"
    smallest_batch: int = 1

    @property
    def profiles(self) -> tuple[DeviceProfile, ...]:
        """The device profiles of the fleet."""
        return self.population.profiles

    def profile_of(self, client_id: int, round_idx: int) -> DeviceProfile:
        """The device profile of a client in a round."""
        return device_of(self.population, self.seed, client_id, round_idx)

    def profile_index(self, client_id: int, round_idx: int) -> int:
        """Index in `profiles` of the client's device profile in a round."""
        rng = device_stream(self.population, self.seed, client_id, round_idx)
        return self.population.profile_index(client_id, rng)
