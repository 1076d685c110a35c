"""Hermes: personal submodels of which the server averages the common parameters.

Every client has a personal submodel, from which it removes the units with the smallest norms while its accuracy is
high. The server averages only the parameters that the submodels of all participants contain. All other parameters
stay personal.

Symbols: p = algorithm.prune_share, a_min = algorithm.min_accuracy, target = algorithm.min_ratio, personal model and
units = client_state.personal and units, units of all participants = state.shared.

Seen: abstracts, and the Hermes baselines of the public code of plato and FedLPS. Not seen: the paper's text and its own
code.

Deviations:

- The condition reads the accuracy on the client's validation part, of the personal model with the received parameters.
- p, a_min and the target are those of plato. FedLPS has 10 %, .45 and .3.
- A unit is a unit of a group of coupled layers, ranked by its L1 norm. The last layer keeps its outputs.
- FedLPS adds a group lasso, which is left out here.
- A client downloads the parameters that the participants of the last round had in common.
"""

from dataclasses import dataclass, replace
from math import ceil, floor
from typing import ClassVar, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    MODEL_ITEM,
    UNIT_BITS,
    Aggregate,
    AlgorithmConfig,
    Bits,
    Capabilities,
    ChosenUnitsAlgorithm,
    ClientTask,
    Dense,
    KeptUnits,
    LocalRun,
    ModelValues,
    Payload,
    ServerState,
    Traits,
    bits_to_units,
    check_size,
    find_bits,
    find_model,
    unit_sums,
    units_to_bits,
)


class HermesConfig(AlgorithmConfig):
    """Options of Hermes."""

    prune_share: float = Field(0.2, ge=0.0, lt=1.0, description="p, share of a layer's units removed at once")
    min_accuracy: float = Field(0.6, ge=0.0, le=1.0, description="a_min, accuracy from which a client prunes")
    min_ratio: float = Field(
        0.5, gt=0.0, le=1.0, description="share of a layer's units that stays; 1: no pruning"
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class HermesState(ServerState):
    """Adds the units that all participants of the last round have, bool[J]."""

    shared: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class HermesClient:
    """State of a client: its personal model, float32[D], and its units, bool[J]."""

    personal: Tensor
    units: Tensor


@final
class Hermes(ChosenUnitsAlgorithm[HermesState, HermesClient]):
    """Personal submodels that share the parameters which all of them have."""

    Config: ClassVar[type[AlgorithmConfig]] = HermesConfig
    config: HermesConfig
    capabilities: ClassVar[Capabilities] = replace(
        ChosenUnitsAlgorithm.capabilities, aggregation="ipart", upload_mask="own"
    )
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="structured",
        when="iterative",
        density="adaptive",
        personal=True,
        payload="unit bits both ways",
        citations=(references.HERMES,),
    )

    @property
    def needs_validation(self) -> bool:
        """True if clients may prune."""
        return self.config.min_ratio < 1.0

    def init(self, params: Tensor) -> HermesState:
        """All units are shared."""
        return HermesState(params=params, shared=torch.ones(self.num_units, dtype=torch.bool))

    def init_client(self, client_id: int) -> HermesClient:
        """The whole initial model."""
        units = torch.ones(self.num_units, dtype=torch.bool)
        return HermesClient(personal=torch.from_numpy(self.setting.initial.copy()), units=units)

    def entries(self, units: Tensor) -> Tensor:
        """bool[D]: the entries of a submodel with these units, bool[J]; a group may have none."""
        mask, start = self.setting.layout.full_mask(), 0
        views = self.setting.layout.views(mask)
        for group in self.setting.units:
            removed = ~units[start : start + group.num_units].numpy()
            for part in group.slices:
                index = torch.from_numpy(np.ascontiguousarray(part.index[removed].reshape(-1)))
                views[part.segment].index_fill_(part.dim, index, False)
            start += group.num_units
        return mask

    def broadcast(self, state: HermesState) -> Payload:
        """The parameters of the shared units, and their bits."""
        values = state.params[self.entries(state.shared)].numpy()
        return Dense(MODEL_ITEM, values), Bits(UNIT_BITS, state.shared.numpy())

    def unpack(self, payload: Payload, task: ClientTask, client_state: HermesClient) -> ModelValues | None:
        """The values in full coordinates."""
        item = find_model(payload)
        if item is None:
            return None
        bits = torch.tensor(find_bits(payload, UNIT_BITS))
        check_size("unit bits", bits.numel(), self.num_units)
        mask = self.entries(bits)
        check_size("values", item.values.size, int(mask.count_nonzero()))
        values = torch.zeros(mask.numel())
        values[mask] = torch.tensor(item.values)
        return ModelValues(values, mask)

    def load(self, run: LocalRun[HermesClient]) -> None:
        """The personal submodel, with the received parameters in it."""
        assert run.received is not None
        assert run.received.mask is not None
        model = torch.where(run.received.mask, run.received.values, run.state.personal)
        run.load_submodel(model, bits_to_units(self.setting.units, run.state.units.numpy()))

    def on_train_start(self, run: LocalRun[HermesClient]) -> None:
        """Remove units if the accuracy is high enough and some layer may lose units."""
        kept = self.pruned(run)
        smaller = any(len(units) < len(run.kept[name]) for name, units in kept.items())
        if smaller and run.validation_accuracy() >= self.config.min_accuracy:
            run.load_submodel(run.in_full_coordinates().values, kept)

    def pruned(self, run: LocalRun[HermesClient]) -> KeptUnits:
        """The units without the share p of smallest L1 norm, but at least `min_ratio` of each group."""
        model = run.in_full_coordinates().values
        norms = unit_sums(self.setting.layout, self.setting.units, model.abs(), "output")
        kept = {}
        for group in self.setting.units:
            units = run.kept[group.name]
            least = max(1, ceil(self.config.min_ratio * group.num_units - 1e-9))
            count = max(least, len(units) - floor(self.config.prune_share * len(units) + 1e-9))
            order = norms[group.name][units].argsort(descending=True, stable=True)
            kept[group.name] = units[order[:count]].sort().values if count < len(units) else units
        return kept

    def after_train(self, run: LocalRun[HermesClient]) -> None:
        """Store the personal submodel."""
        units = torch.from_numpy(units_to_bits(self.setting.units, run.kept))
        run.state = HermesClient(personal=run.in_full_coordinates().values, units=units)

    def server_update(self, state: HermesState, aggregate: Aggregate, round_idx: int) -> HermesState:
        """The average of the parameters that all participants have, which are shared from now on."""
        return HermesState(
            params=aggregate.values.to(torch.float32), shared=aggregate.extras[UNIT_BITS] > 1.0 - 1e-9
        )
