"""Smaller dense models cut out of a model: which entries they take, and the module that runs them.

Legend: D = entries of the full flat vector, D_sub = entries of the submodel's own, J = units of all groups.
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

#: group name -> int64[k], the units it keeps, each once, in the order in which the submodel has them;
#: a group that is not in the mapping is whole
KeptUnits = Mapping[str, Tensor]

#: a slice and the units, int64[k], that it keeps
_Cut = tuple[UnitSlice, NDArray[np.int64]]


def first_units(groups: Sequence[UnitGroup], counts: Mapping[str, int]) -> KeptUnits:
    """The first `counts[name]` units of each group; a group without a count stays whole."""
    return {g.name: torch.arange(counts[g.name]) for g in groups if g.name in counts}


def submodel_index(layout: ParameterLayout, groups: Sequence[UnitGroup], kept: KeptUnits) -> Tensor:
    """int64[D_sub]: the position in the full vector of each entry of the submodel's own flat vector.

    `full[index]` gathers the submodel's values, `full[index] = values` scatters them.
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


def unit_mask(layout: ParameterLayout, groups: Sequence[UnitGroup], kept: KeptUnits) -> Tensor:
    """bool[D]: True exactly at the entries of the submodel; the biases and norms of dropped units are False."""
    mask = torch.zeros(layout.size, dtype=torch.bool)
    mask[submodel_index(layout, groups, kept)] = True
    return mask


def unit_sums(
    layout: ParameterLayout, groups: Sequence[UnitGroup], vector: Tensor, role: Role
) -> dict[str, Tensor]:
    """By group name, of the vector's dtype, [num_units]: the sums of each unit's entries of a [D] vector.

    Only the entries of one role count: with "output" those that produce the unit, with "input" those that
    consume it. A weight between two groups counts in both, in different roles.
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
    """bool[J]: whether each unit is kept, group after group."""
    _check_names(groups, kept)
    parts = []
    for group in groups:
        bits = np.full(group.num_units, group.name not in kept)
        if group.name in kept:
            bits[kept[group.name].cpu().numpy()] = True
        parts.append(bits)
    return np.concatenate(parts)


def bits_to_units(groups: Sequence[UnitGroup], bits: NDArray[np.bool_]) -> KeptUnits:
    """The kept units of every group in ascending order, from bool[J].

    Raises WireError for another number of bits and for a group with no kept unit.
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
    """A new module like this one with so many units in each group; a group without a count stays whole.

    Its ParameterLayout has the same segments in the same order, smaller; their values are zero, to be
    loaded. All other state is copied. `module` is left as it is and shares nothing with the new one.
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
        _declare_sizes(layer, removed.get((f"{name}.weight", 0), 0))
    return smaller


def _check_names(groups: Sequence[UnitGroup], given: Mapping[str, object]) -> None:
    unknown = given.keys() - {group.name for group in groups}
    assert not unknown, f"there is no group {sorted(unknown)}"


def _axes(shape: tuple[int, ...], cuts: Sequence[_Cut]) -> Iterator[tuple[int, Tensor]]:
    """(size, int64 positions that stay) along each cut dimension, and along those between them as one."""
    whole = 1
    for dim, size in enumerate(shape):
        own = [cut for cut in cuts if cut[0].dim == dim]
        if own:
            yield whole, torch.arange(whole)
            yield size, torch.from_numpy(_kept_positions(size, own))
        whole = 1 if own else whole * size
    yield whole, torch.arange(whole)


def _kept_positions(size: int, cuts: Sequence[_Cut]) -> NDArray[np.int64]:
    """Positions along one dimension that stay, block by block, with the units of a block in their new order."""
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
    """A deep copy in which zeros of the smaller shape stand for each tensor of the vector."""
    memo: dict[int, object] = {}
    in_vector = {segment.name for segment in ParameterLayout.of(module).segments}
    in_vector |= {name for name, _ in removed}  # statistics that are not finite now are still statistics
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if name in in_vector:
            shape = [size - removed.get((name, dim), 0) for dim, size in enumerate(tensor.shape)]
            zeros = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(zeros, tensor.requires_grad) if is_parameter else zeros
    return replica(module, memo)


def _declare_sizes(layer: nn.Module, num_removed: int) -> None:
    """Bring a layer's own record of its sizes in line with its tensors.

    A norm may have no tensor to look at: `num_removed` says how many channels it lost.
    """
    if isinstance(layer, _ConvNd):
        _declare_channels(layer)
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


def _declare_channels(layer: _ConvNd) -> None:
    outputs, inputs = layer.weight.shape[:2]
    if layer.groups == 1:
        layer.in_channels, layer.out_channels = (outputs, inputs) if layer.transposed else (inputs, outputs)
    elif layer.groups == layer.in_channels and not layer.transposed:
        layer.groups = outputs // (layer.out_channels // layer.in_channels)
        layer.in_channels, layer.out_channels = layer.groups, outputs
