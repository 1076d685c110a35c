"""Sub-FedAvg (Hybrid): each client removes channels and prunes weights of its own model while it trains.

As in Sub-FedAvg, a client computes an early and a late candidate, and accepts the late one if both differ enough and if
the smaller model is accurate enough on the client's validation samples. It decides first about weights of the fully
connected layers, then about channels. The server averages every parameter over the clients that have it.

Symbols: p = algorithm.prune_share, p_ch = algorithm.channel_share, epsilon_fc and epsilon_ch =
algorithm.min_distance and min_channel_distance, a_min = algorithm.min_accuracy, target = sparsity.level.

Deviations:

- The condition reads the accuracy on the client's validation part. The public code reads the test part.
- The late candidate is that after the last local epoch; the code takes it after the fifth. The early one is that
  after the first epoch, or before training if there is only one.
- Channels are ranked by the scales of the normalisation that follows them, as in the code. Channels without a scale are
  ranked by the L1 norm of their weights. Of equal ranks, the index decides.
- Channels may be removed after the target, as in the code. The target is a share of the maskable weights; the code
  counts all parameters. The last prunings remove the missing share from the fully connected layers; the code
  subtracts 5 points if the share is more than 16 %.
- The paper's L1 penalty on the scales, off by default in the code, is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from algorithms import references
from orchestrator.method import (
    MODEL_ITEM,
    ROUNDING,
    UNIT_BITS,
    AlgorithmConfig,
    Bits,
    Capabilities,
    ChosenUnitsAlgorithm,
    ClientTask,
    Dense,
    ItemForm,
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
    prune_share,
    unit_sums,
    units_to_bits,
)

#: name of the item with one bit for each weight of the fully connected layers
WEIGHT_BITS = "weights"


class SubFedAvgHybridConfig(AlgorithmConfig):
    """Options of Sub-FedAvg (Hybrid)."""

    prune_share: float = Field(
        0.1, gt=0.0, lt=1.0, description="p: share of a layer's weights pruned at once"
    )
    channel_share: float = Field(0.45, gt=0.0, lt=1.0, description="p_ch: share of channels removed at once")
    min_ratio: float = Field(0.5, gt=0.0, le=1.0, description="share of a layer's channels that stays")
    min_distance: float = Field(5e-4, ge=0.0, description="epsilon_fc: least difference of the two masks")
    min_channel_distance: float = Field(0.01, ge=0.0, description="epsilon_ch: the same for channels")
    min_accuracy: float = Field(0.5, ge=0.0, le=1.0, description="a_min: accuracy to exceed after pruning")


@dataclass(frozen=True, kw_only=True, eq=False)
class HybridClient:
    """State of a client: the units of its model, bool[J], and whether each entry is not pruned as a weight, bool[D]."""

    units: Tensor
    mask: Tensor


@dataclass(frozen=True, eq=False)
class Candidate:
    """What a client would keep: its mask, bool[D], and its units. The early one is a scratch value of the task."""

    mask: Tensor
    kept: KeptUnits


@final
class SubFedAvgHybrid(ChosenUnitsAlgorithm[ServerState, HybridClient]):
    """Personal submodels without some channels, and without some weights of fully connected layers."""

    Config: ClassVar[type[AlgorithmConfig]] = SubFedAvgHybridConfig
    config: SubFedAvgHybridConfig
    capabilities: ClassVar[Capabilities] = replace(
        ChosenUnitsAlgorithm.capabilities,
        upload_mask="within",
        default_density=0.5,
        density_schedule=True,
        device_densities=True,
    )
    traits: ClassVar[Traits] = Traits(
        scope="personal",
        structure="structured",
        when="iterative",
        density="per device",
        personal=True,
        payload="unit and weight bits up",
        citations=(references.SUBFEDAVG,),
    )

    @property
    def needs_validation(self) -> bool:
        """Clients prune if they stay accurate."""
        return True

    def init_client(self, client_id: int) -> HybridClient:
        """The whole model."""
        units = torch.ones(self.num_units, dtype=torch.bool)
        return HybridClient(units=units, mask=self.setting.layout.full_mask())

    def max_density(self, round_idx: int, client_id: int) -> float:
        """1: clients start dense, and may stay dense."""
        return 1.0

    def weight(self, num_examples: int) -> float:
        """All clients have the same weight."""
        return 1.0

    # Messages

    def entries(self, kept: KeptUnits, mask: Tensor) -> Tensor:
        """bool[D]: the entries of a model with these units that are not pruned."""
        entries = torch.zeros_like(mask)
        index = self.index(kept)
        entries[index] = mask[index]
        return entries

    def kept(self, client: HybridClient) -> KeptUnits:
        """The units of a client."""
        return bits_to_units(self.setting.units, client.units.numpy())

    def is_connected(self) -> Tensor:
        """bool[D]: the weights of fully connected layers, which are pruned one by one."""
        connected = torch.zeros(self.setting.layout.size, dtype=torch.bool)
        for segment in self.setting.layout.maskable:
            connected[segment.slice] = len(segment.shape) == 2
        return connected

    def broadcast(self, state: ServerState) -> Payload:
        """Nothing: `unicast` sends every client its own parameters."""
        return ()

    def unicast(self, state: ServerState, task: ClientTask, client_state: HybridClient) -> Payload:
        """The parameters of the client's model, which the client knows."""
        return (
            Dense(MODEL_ITEM, state.params[self.entries(self.kept(client_state), client_state.mask)].numpy()),
        )

    def pack(self, run: LocalRun[HybridClient]) -> Payload:
        """The trained parameters, and the bits of units and weights."""
        model = run.in_full_coordinates()
        assert model.mask is not None
        weights = run.state.mask[self.is_connected()]
        return (
            Dense(MODEL_ITEM, model.values[model.mask].numpy()),
            Bits(UNIT_BITS, run.state.units.numpy()),
            Bits(WEIGHT_BITS, weights.numpy()),
        )

    def upload_items(self, task: ClientTask) -> Mapping[str, ItemForm]:
        """The model, one bit for each unit, and one for each weight of the fully connected layers."""
        size = int(self.is_connected().sum())
        return {**super().upload_items(task), WEIGHT_BITS: ItemForm(kinds=(Bits,), size=size)}

    def unpack(self, payload: Payload, task: ClientTask, client_state: HybridClient) -> ModelValues | None:
        """The values in full coordinates. A payload without bits has the entries of the client's own model."""
        item = find_model(payload)
        if item is None:
            return None
        kept, mask = self.kept(client_state), client_state.mask
        if any(other.name == UNIT_BITS for other in payload):
            connected, bits = self.is_connected(), find_bits(payload, WEIGHT_BITS)
            check_size("weight bits", bits.size, int(connected.sum()))
            kept, mask = self.units_of(payload), self.setting.layout.full_mask()
            mask[connected] = torch.from_numpy(bits.copy())
        entries = self.entries(kept, mask)
        check_size("values", item.values.size, int(entries.count_nonzero()))
        values = torch.zeros(entries.numel())
        values[entries] = torch.tensor(item.values)
        return ModelValues(values, entries)

    # Training

    def load(self, run: LocalRun[HybridClient]) -> None:
        """The client's own part of the received model."""
        self.load_part(run, run.start, self.kept(run.state), run.state.mask)

    def load_part(self, run: LocalRun[HybridClient], values: Tensor, kept: KeptUnits, mask: Tensor) -> None:
        """Load these units of a float32[D] vector, without the pruned weights."""
        run.load_submodel(values, kept)
        run.set_mask(mask[self.index(kept)])

    def on_train_start(self, run: LocalRun[HybridClient]) -> None:
        """With a single local epoch, compute the early candidate before training."""
        if self.setting.training.local_epochs == 1:
            run.put_scratch(self.candidate(run))

    def on_epoch(self, run: LocalRun[HybridClient], epochs_done: int) -> None:
        """With several local epochs, compute the early candidate after the first epoch."""
        if epochs_done == 1 and self.setting.training.local_epochs > 1:
            run.put_scratch(self.candidate(run))

    def after_train(self, run: LocalRun[HybridClient]) -> None:
        """Accept the late candidate's weights and then its units, each under its own conditions."""
        early, late = run.scratch(Candidate), self.candidate(run)
        self.prune_weights(run, early.mask, late.mask)
        self.remove_channels(run, early.kept, late.kept)

    def candidate(self, run: LocalRun[HybridClient]) -> Candidate:
        """What the client would keep now."""
        model = run.in_full_coordinates().values
        return Candidate(self.pruned_mask(run, model, self.config.prune_share), self.smaller(run, model))

    def pruned_mask(self, run: LocalRun[HybridClient], model: Tensor, share: float) -> Tensor:
        """The mask without this share of the remaining weights of every fully connected layer."""
        alive, connected = self.entries(run.kept, run.state.mask), self.is_connected()
        pruned = prune_share(self.setting.layout, alive, model, share)
        return run.state.mask & ~(connected & alive & ~pruned)

    def smaller(self, run: LocalRun[HybridClient], model: Tensor) -> KeptUnits:
        """The units without the lowest share p_ch of the channels, where at least `min_ratio` of a layer stays."""
        kept = dict(run.kept)
        for group, ranks in self.channel_ranks(model).items():
            units, num_units = run.kept[group], len(ranks)
            count = len(units) - floor(self.config.channel_share * len(units) + ROUNDING) - 1
            if count >= max(1, ceil(self.config.min_ratio * num_units - ROUNDING)):
                order = ranks[units].argsort(descending=True, stable=True)
                kept[group] = units[order[:count]].sort().values
        return kept

    @property
    def channel_groups(self) -> frozenset[str]:
        """Names of the groups whose units are channels of a convolution."""
        convolutions = {s.name for s in self.setting.layout.maskable if len(s.shape) > 2}
        return frozenset(g.name for g in self.setting.units if f"{g.name}.weight" in convolutions)

    def channel_ranks(self, model: Tensor) -> dict[str, Tensor]:
        """By group of channels float32[num_units]: each channel's scale, or the norm of its weights without scales."""
        layout, units = self.setting.layout, self.setting.units
        scales = torch.zeros(layout.size)
        for segment in layout.segments:
            if len(segment.shape) == 1 and segment.name.endswith("weight"):
                scales[segment.slice] = model[segment.slice].abs()
        by_scale, by_norm = (unit_sums(layout, units, part, "output") for part in (scales, model.abs()))
        return {
            name: by_scale[name] if by_scale[name].any() else by_norm[name]
            for name in by_norm
            if name in self.channel_groups
        }

    def pruned(self, run: LocalRun[HybridClient]) -> float:
        """Share of the maskable weights that the client's model does not have."""
        layout = self.setting.layout
        alive = layout.restrict(self.entries(run.kept, run.state.mask))
        return 1.0 - int(alive.count_nonzero()) / max(1, layout.num_maskable)

    def prune_weights(self, run: LocalRun[HybridClient], early: Tensor, late: Tensor) -> None:
        """Prune weights if the candidates differ, the target is not reached, and the model stays accurate."""
        target, pruned = 1.0 - self.density(run.task.round_idx, run.task.client_id), self.pruned(run)
        differing = [
            float((early[s.slice] != late[s.slice]).double().mean())
            for s in self.setting.layout.maskable
            if len(s.shape) == 2
        ]
        distance = sum(differing) / max(1, len(differing))
        if pruned >= target - ROUNDING or distance <= self.config.min_distance:
            return
        model = run.in_full_coordinates().values
        if target - pruned < self.config.prune_share:
            late = self.pruned_mask(run, model, (target - pruned) / (1.0 - pruned))
        run.set_mask(late[self.index(run.kept)])
        if run.validation_accuracy() > self.config.min_accuracy:
            run.state = replace(run.state, mask=late)
        else:
            self.load_part(run, model, run.kept, run.state.mask)

    def remove_channels(self, run: LocalRun[HybridClient], early: KeptUnits, late: KeptUnits) -> None:
        """Remove channels if the candidates differ, and the model stays accurate."""
        first, last = (units_to_bits(self.setting.units, kept) for kept in (early, late))
        before, num_channels = run.kept, sum(len(run.kept[name]) for name in self.channel_groups)
        if (first != last).sum() <= self.config.min_channel_distance * num_channels:
            return
        model = run.in_full_coordinates().values
        self.load_part(run, model, late, run.state.mask)
        if run.validation_accuracy() > self.config.min_accuracy:
            run.state = replace(run.state, units=torch.from_numpy(last))
        else:
            self.load_part(run, model, before, run.state.mask)
