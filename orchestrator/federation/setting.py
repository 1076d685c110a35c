"""What surrounds a run: all that a method may know beside its state and what travels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.config import SparsityConfig, TrainingConfig
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.cost import ModelCost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.units import UnitGroup
from orchestrator.sparsity.wire_frame import ValueDtype


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The frozen surroundings of a run that server and client hooks may read.

    `initial` is the float32[D] start vector, which every client can draw from the seed; `units` the model's
    unit groups, () unless the method asks for them; `assignment` int64[K] each client's profile; `value_dtype`
    what values are rounded to on the wire.
    """

    layout: ParameterLayout
    cost: ModelCost
    training: TrainingConfig
    sparsity: SparsityConfig
    num_clients: int
    seed: int
    initial: NDArray[np.float32]
    profiles: tuple[DeviceProfile, ...]
    assignment: NDArray[np.int64]
    units: tuple[UnitGroup, ...] = ()
    value_dtype: ValueDtype = "float32"

    def profile_of(self, client_id: int) -> DeviceProfile:
        """The device a client runs on."""
        return self.profiles[int(self.assignment[client_id])]
