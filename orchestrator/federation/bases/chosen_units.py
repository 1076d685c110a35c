"""The base of methods with submodels whose units one end chooses, so that the message names the units by bits.

Where both ends can derive the units, use `StructuredAlgorithm`, which sends no bits.
"""

from collections.abc import Mapping
from typing import ClassVar, TypeVar

from torch import Tensor

from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import (
    MODEL_ITEM,
    ModelValues,
    find_bits,
    find_model,
    scatter,
    unpack_model,
)
from orchestrator.federation.item_form import ItemForm
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.models.units.submodel import KeptUnits, bits_to_units, submodel_index, units_to_bits
from orchestrator.sparsity.payload import Bits, Dense, Payload

#: name of the item with one bit for each unit
UNIT_BITS = "units"

S = TypeVar("S", bound=ServerState)
C = TypeVar("C")


class ChosenUnitsAlgorithm(Algorithm[S, C]):
    """FedAvg of submodels, each sent as its values and one bit for each unit of the model.

    A subclass overrides `broadcast` or `unicast` to send `pack_units`, or `load` to choose the units on the client.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(aggregation="covmean", submodels=True)

    @property
    def num_units(self) -> int:
        """Units of all groups, J."""
        return sum(group.num_units for group in self.setting.units)

    def index(self, kept: KeptUnits) -> Tensor:
        """int64: positions of the submodel's entries in the full vector."""
        return submodel_index(self.setting.layout, self.setting.units, kept)

    def pack_units(self, values: Tensor, kept: KeptUnits) -> Payload:
        """The units `kept` of a float32[D] vector, and their bits."""
        bits = Bits(UNIT_BITS, units_to_bits(self.setting.units, kept))
        return Dense(MODEL_ITEM, values[self.index(kept)].numpy()), bits

    def units_of(self, payload: Payload) -> KeptUnits:
        """The units that a payload names. Raises WireError for a group without a unit."""
        return bits_to_units(self.setting.units, find_bits(payload, UNIT_BITS))

    def unpack(self, payload: Payload, task: ClientTask, client_state: C) -> ModelValues | None:
        """Scatter the submodel into the full vector; a payload without bits has the whole model."""
        item = find_model(payload)
        if item is None or all(other.name != UNIT_BITS for other in payload):
            return unpack_model(self.setting.layout, payload)
        return scatter(item.values, self.index(self.units_of(payload)), self.setting.layout.size)

    def load(self, run: LocalRun[C]) -> None:
        """Load the units that the download names."""
        run.load_submodel(run.start, self.units_of(run.payload))

    def pack(self, run: LocalRun[C]) -> Payload:
        """The trained submodel and the bits of its units."""
        bits = Bits(UNIT_BITS, units_to_bits(self.setting.units, run.kept))
        return Dense(MODEL_ITEM, run.values.detach().cpu().numpy()), bits

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The submodel and one bit for each unit."""
        forms = dict(super().upload_items(task))
        if task.kind == "train":
            forms[UNIT_BITS] = ItemForm(kinds=(Bits,), size=self.num_units)
        return forms
