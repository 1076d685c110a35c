"""Cuts smaller dense submodels out of a model: finds a submodel's entries, and builds its module.

Legend: D = entries of the full flat vector, D_sub = entries of the submodel's flat vector, J = units of all groups.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.rnn import RNNBase

from orchestrator.errors import WireError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.replica import replica
from orchestrator.models.units.groups import Role, UnitGroup, UnitSlice

#: group name -> int64[k], the group's kept units, each once, in the order of the submodel; a group that is not in the
#: mapping keeps all units
KeptUnits = Mapping[str, Tensor]

#: a slice and its kept units, int64[k]
_Cut = tuple[UnitSlice, NDArray[np.int64]]


def first_units(groups: Sequence[UnitGroup], counts: Mapping[str, int]) -> KeptUnits:
    """Return the first `counts[name]` units of each group; a group without a count keeps all units."""
    return {g.name: torch.arange(counts[g.name]) for g in groups if g.name in counts}


def submodel_index(layout: ParameterLayout, groups: Sequence[UnitGroup], kept: KeptUnits) -> Tensor:
    """Return the position in the full vector of each entry of the submodel's flat vector, int64[D_sub].

    `full[index]` gathers the submodel's values, and `full[index] = values` scatters them.
    """
    _check_names(groups, kept)
    cuts: dict[str, list[_Cut]] = {}
    for group in groups:
        if group.name in kept:
            units = kept[group.name].cpu().numpy()
            assert len(units) > 0, f"{group.name} keeps no unit"
            for part in group.slices:
                cuts.setdefault(part.segment, []).append((part, units))
    pieces = []
    for segment in layout.segments:
        index, stride = torch.tensor(segment.offset), segment.size
        for size, positions in _axes(segment.shape, cuts.get(segment.name, [])):
            stride //= size
            index = index[..., None] + positions * stride
        pieces.append(index.reshape(-1))
    return torch.cat(pieces)


def unit_sums(
    layout: ParameterLayout, groups: Sequence[UnitGroup], vector: Tensor, role: Role
) -> dict[str, Tensor]:
    """Return the sum of each unit's entries of a [D] vector, by group name: [num_units], of the vector's dtype.

    Only entries of this role count: "output" entries produce the unit, "input" entries consume the unit. A weight
    between two groups counts in both groups, in different roles.
    """
    views = layout.views(vector)
    marginals: dict[tuple[str, int], Tensor] = {}
    sums = {group.name: vector.new_zeros(group.num_units) for group in groups}
    for group in groups:
        for part in group.slices:
            if part.role != role or part.segment not in views:
                continue
            key = (part.segment, part.dim)
            if key not in marginals:
                tensor = views[part.segment]
                others = [dim for dim in range(tensor.ndim) if dim != part.dim]
                marginals[key] = tensor.sum(dim=others) if others else tensor
            sums[group.name] += marginals[key][torch.from_numpy(part.index).to(vector.device)].sum(dim=1)
    return sums


def units_to_bits(groups: Sequence[UnitGroup], kept: KeptUnits) -> NDArray[np.bool_]:
    """Return whether each unit is kept, bool[J], group after group."""
    _check_names(groups, kept)
    parts = []
    for group in groups:
        bits = np.full(group.num_units, group.name not in kept)
        if group.name in kept:
            bits[kept[group.name].cpu().numpy()] = True
        parts.append(bits)
    return np.concatenate(parts)


def bits_to_units(groups: Sequence[UnitGroup], bits: NDArray[np.bool_]) -> KeptUnits:
    """Return the kept units of every group in ascending order, from bool[J].

    Raises WireError for another number of bits, and for a group without a kept unit.
    """
    num_units = sum(group.num_units for group in groups)
    if bits.shape != (num_units,):
        raise WireError(f"expected one bit for each of {num_units} units, got {bits.shape}")
    kept, start = {}, 0
    for group in groups:
        units = np.flatnonzero(bits[start : start + group.num_units])
        if not len(units):
            raise WireError(f"no unit of {group.name} is kept")
        kept[group.name] = torch.from_numpy(units)
        start += group.num_units
    return kept


def shrink(module: nn.Module, groups: Sequence[UnitGroup], num_kept: Mapping[str, int]) -> nn.Module:
    """Return a smaller copy of the module with `num_kept` units in each group.

    A group without a count keeps all units. The copy's ParameterLayout has the same segments in the same order, with
    smaller shapes. Their values are zero, so that the caller loads them. All other state is copied. The function does
    not change `module`, and the copy shares no tensors with it.
    """
    _check_names(groups, num_kept)
    removed: dict[tuple[str, int], int] = {}
    for group in groups:
        dropped = group.num_units - num_kept.get(group.name, group.num_units)
        assert 0 <= dropped < group.num_units, f"{group.name} cannot keep {num_kept[group.name]} units"
        for part in group.slices:
            key = (part.segment, part.dim)
            removed[key] = removed.get(key, 0) + dropped * part.index.shape[1]
    smaller = _copy_with_zeros(module, removed)
    for name, layer in smaller.named_modules():
        _update_sizes(layer, removed.get((f"{name}.weight", 0), 0))
    return smaller


def _check_names(groups: Sequence[UnitGroup], by_name: Mapping[str, object]) -> None:
    unknown = by_name.keys() - {group.name for group in groups}
    assert not unknown, f"there is no group {sorted(unknown)}"


def _axes(shape: tuple[int, ...], cuts: Sequence[_Cut]) -> Iterator[tuple[int, Tensor]]:
    """Yield (size, kept positions, int64) of each cut dimension; dimensions between cut ones are merged into one."""
    whole = 1
    for dim, size in enumerate(shape):
        own = [cut for cut in cuts if cut[0].dim == dim]
        if own:
            yield whole, torch.arange(whole)
            yield size, torch.from_numpy(_kept_positions(size, own))
        whole = 1 if own else whole * size
    yield whole, torch.arange(whole)


def _kept_positions(size: int, cuts: Sequence[_Cut]) -> NDArray[np.int64]:
    """Return the kept positions along one dimension, block by block, with the units of a block in their new order."""
    whole = np.ones(size, np.bool_)
    for part, _ in cuts:
        whole[part.index] = False
    blocks, positions = [np.flatnonzero(whole)], [np.flatnonzero(whole)]
    for part, units in cuts:
        own = part.index[units]
        positions.append(own.reshape(-1))
        blocks.append(np.broadcast_to(part.block_starts(), own.shape).reshape(-1))
    order = np.argsort(np.concatenate(blocks), kind="stable")
    stay: NDArray[np.int64] = np.concatenate(positions)[order]
    return stay


def _copy_with_zeros(module: nn.Module, removed: Mapping[tuple[str, int], int]) -> nn.Module:
    """Return a deep copy in which zeros of the smaller shape replace each tensor of the flat vector."""
    memo: dict[int, object] = {}
    in_vector = {segment.name for segment in ParameterLayout.of(module).segments}
    in_vector |= {name for name, _ in removed}  # includes statistics whose current values are not finite
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name in in_vector:
            shape = [size - removed.get((name, dim), 0) for dim, size in enumerate(tensor.shape)]
            zeros = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(zeros, tensor.requires_grad) if is_parameter else zeros
    return replica(module, memo)


def _update_sizes(layer: nn.Module, num_removed: int) -> None:
    """Set a layer's size attributes to the sizes of its tensors.

    A norm may have no tensors, so `num_removed` is the number of its removed channels.
    """
    if isinstance(layer, _ConvNd):
        _update_channels(layer)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.Embedding):
        layer.embedding_dim = layer.weight.shape[1]
    elif isinstance(layer, RNNBase):
        layer.hidden_size = layer.get_parameter("weight_hh_l0").shape[1]
        layer.input_size = layer.get_parameter("weight_ih_l0").shape[1]
    elif isinstance(layer, _NormBase):
        layer.num_features -= num_removed
    elif isinstance(layer, nn.GroupNorm):
        per_group = layer.num_channels // layer.num_groups
        layer.num_channels -= num_removed
        layer.num_groups = layer.num_channels // per_group
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters -= num_removed


def _update_channels(layer: _ConvNd) -> None:
    outputs, inputs = layer.weight.shape[:2]
    if layer.groups == 1:
        layer.in_channels, layer.out_channels = (outputs, inputs) if layer.transposed else (inputs, outputs)
    elif layer.groups == layer.in_channels and not layer.transposed:
        layer.groups = outputs // (layer.out_channels // layer.in_channels)
        layer.in_channels, layer.out_channels = layer.groups, outputs
