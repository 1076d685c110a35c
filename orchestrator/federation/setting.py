"""What surrounds a run: all that a method may know beside its state and what travels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import SparsityConfig, TrainingConfig
from orchestrator.federation.device_assignment import device_of, device_stream
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.cost import ModelCost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.units.groups import UnitGroup
from orchestrator.sparsity.wire_frame import ValueDtype


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The frozen surroundings of a run that server and client hooks may read.

    `initial` is the float32[D] start vector, which every client can draw from the seed; `units` the model's
    unit groups, () unless the method asks for them; `population` says which device each client has; `value_dtype`
    is what values are rounded to on the wire; `smallest_batch` the fewest samples that the model can be trained on.
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
        """The fleet's kinds of device."""
        return self.population.profiles

    def profile_of(self, client_id: int, round_idx: int) -> DeviceProfile:
        """The device that a client runs on in a round."""
        return device_of(self.population, self.seed, client_id, round_idx)

    def profile_index(self, client_id: int, round_idx: int) -> int:
        """Where in `profiles` the kind of that device stands."""
        rng = device_stream(self.population, self.seed, client_id, round_idx)
        return self.population.profile_index(client_id, rng)
