"""Submodels: their entries, and their equality with the masked full model."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.errors import WireError
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.units.groups import Role, UnitGroup
from orchestrator.models.units.submodel import (
    KeptUnits,
    bits_to_units,
    first_units,
    shrink,
    submodel_index,
    unit_sums,
    units_to_bits,
)
from orchestrator.models.units.tracing import trace_units
from tests.support.submodels import (
    BUILTIN,
    CHARACTERS,
    CUSTOM,
    Cut,
    builtin,
    characters,
    custom,
    tied,
    unit_mask,
)

RATIOS = (1.0, 0.5, 0.25, 1 / 16)


def _assert_exact(cut: Cut, kept: KeptUnits) -> None:
    expected = cut.masked_output(kept)
    assert expected.std() > 1e-3
    torch.testing.assert_close(cut.submodel_output(kept), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", BUILTIN)
def test_submodel_of_a_built_in_model_equals_the_masked_model(name: str) -> None:
    cut = builtin(name)
    for ratio in RATIOS:
        _assert_exact(cut, cut.random_units(ratio))
        _assert_exact(cut, first_units(cut.groups, cut.counts(ratio)))


@pytest.mark.parametrize("name", CUSTOM)
def test_submodel_of_a_custom_model_equals_the_masked_model(name: str) -> None:
    cut = custom(name)
    for ratio in RATIOS:
        _assert_exact(cut, cut.random_units(ratio))
        _assert_exact(cut, cut.random_units(ratio, ordered=False))


@pytest.mark.parametrize("name", ["lstm of two layers", "flattened gru", "depthwise", "concatenation"])
def test_reordered_units_change_the_entries_but_not_the_function(name: str) -> None:
    cut = custom(name)
    reordered = cut.random_units(1.0, ordered=False)
    index = submodel_index(cut.layout, cut.groups, reordered)
    assert not torch.equal(index, torch.arange(cut.layout.size))
    assert torch.equal(index.sort().values, torch.arange(cut.layout.size))
    torch.testing.assert_close(cut.submodel_output(reordered), cut.masked_output({}), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", ["mlp", "cnn_mnist", "resnet18"])
def test_index_matches_the_layout_of_the_submodel(name: str) -> None:
    cut = builtin(name)
    kept = cut.random_units(0.25)
    index, sub = submodel_index(cut.layout, cut.groups, kept), cut.submodel(kept).layout
    assert len(index) == sub.size == len(set(index.tolist()))
    for full, small in zip(cut.layout.segments, sub.segments, strict=True):
        assert (full.name, full.kind, full.maskable) == (small.name, small.kind, small.maskable)
        part = index[small.slice]
        assert full.offset <= part.min()
        assert part.max() < full.offset + full.size


def test_scatter_inverts_gather_and_changes_only_the_mask() -> None:
    cut = builtin("cnn_mnist")
    kept = cut.random_units(0.5, ordered=False)
    index, mask = submodel_index(cut.layout, cut.groups, kept), unit_mask(cut.layout, cut.groups, kept)
    vector = cut.values.clone()
    vector[index] = cut.values[index]
    assert torch.equal(vector, cut.values)
    vector[index] = 0.0
    assert torch.equal(vector, cut.values * ~mask)
    assert int(mask.sum()) == len(index)


@pytest.mark.parametrize("name", ["cnn_cifar", "resnet18"])
def test_submodel_with_all_units_has_all_entries(name: str) -> None:
    cut = builtin(name)
    all_units = first_units(cut.groups, {group.name: group.num_units for group in cut.groups})
    for kept in (all_units, first_units(cut.groups, {})):
        assert torch.equal(submodel_index(cut.layout, cut.groups, kept), torch.arange(cut.layout.size))


def test_shapes_of_half_of_cnn_mnist() -> None:
    cut = builtin("cnn_mnist")
    sub = shrink(cut.flat.module, cut.groups, cut.counts(0.5))
    assert {name: tuple(p.shape) for name, p in sub.named_parameters()} == {
        "conv1.weight": (5, 1, 5, 5),
        "conv1.bias": (5,),
        "conv2.weight": (10, 5, 5, 5),
        "conv2.bias": (10,),
        "fc1.weight": (25, 160),
        "fc1.bias": (25,),
        "fc2.weight": (10, 25),
        "fc2.bias": (10,),
    }
    convolution, linear = sub.get_submodule("conv2"), sub.get_submodule("fc1")
    assert (convolution.in_channels, convolution.out_channels) == (5, 10)
    assert (linear.in_features, linear.out_features) == (160, 25)


def test_entries_of_two_kept_channels_by_hand() -> None:
    """Convolution 1->3 of 1x1, flatten 2x2, linear 12->2: weights 0-2, biases 3-5, head 6-29 and 30-31."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2))
    groups, layout = trace_units(net, torch.zeros(2, 1, 2, 2)), ParameterLayout.of(net)
    index = submodel_index(layout, groups, {"0": torch.tensor([2, 0])})
    head = [[14, 15, 16, 17, 6, 7, 8, 9], [26, 27, 28, 29, 18, 19, 20, 21]]
    assert index.tolist() == [2, 0, 5, 3, *head[0], *head[1], 30, 31]


def test_shapes_of_a_smaller_lstm_by_hand() -> None:
    cut = Cut(characters(), CHARACTERS)
    sub = shrink(cut.flat.module, cut.groups, {"embed": 2, "lstm": 3})
    assert {name: tuple(p.shape) for name, p in sub.named_parameters()} == {
        "embed.weight": (11, 2),
        "lstm.weight_ih_l0": (12, 2),
        "lstm.weight_hh_l0": (12, 3),
        "lstm.bias_ih_l0": (12,),
        "lstm.bias_hh_l0": (12,),
        "head.weight": (11, 3),
        "head.bias": (11,),
    }


def test_smaller_group_norm_keeps_the_number_of_channels_per_group() -> None:
    cut = builtin("resnet18")
    sub = shrink(cut.flat.module, cut.groups, {"stage2.0.conv2": 5})
    norm = sub.get_submodule("stage2.0.shortcut.1")
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.num_channels) == (5, 20)
    assert sub.get_parameter("stage3.0.conv1.weight").shape == (256, 20, 3, 3)


def test_submodel_shares_no_tensors_with_the_full_model() -> None:
    cut = custom("batch norm")
    before, batches = cut.values.clone(), cut.flat.module.get_buffer("1.num_batches_tracked")
    sub = FlatModule(shrink(cut.flat.module, cut.groups, {"0": 2}).train())
    sub.module(cut.batch).sum().backward()
    sub.values.fill_(7.0)
    assert torch.equal(cut.flat.values, before)
    assert not cut.flat.grad.any()
    assert (int(batches), int(sub.module.get_buffer("1.num_batches_tracked"))) == (0, 1)
    assert cut.flat.module.get_submodule("0").out_channels == 4


def test_gradient_of_the_submodel_equals_that_of_the_masked_model() -> None:
    cut = Cut(characters(2), CHARACTERS)
    kept = cut.random_units(0.25)
    sub, index = cut.submodel(kept), submodel_index(cut.layout, cut.groups, kept)
    sub.module(cut.batch).square().sum().backward()
    cut.flat.load(cut.values * unit_mask(cut.layout, cut.groups, kept))
    cut.flat.module(cut.batch).square().sum().backward()
    torch.testing.assert_close(sub.grad, cut.flat.grad[index], atol=1e-5, rtol=1e-4)


def test_submodel_of_a_tied_model_is_tied() -> None:
    cut = Cut(tied(), CHARACTERS)
    assert [(group.name, group.num_units) for group in cut.groups] == [("embed", 8)]
    sub = shrink(cut.flat.module, cut.groups, {"embed": 3})
    assert sub.get_parameter("embed.weight") is sub.get_submodule("head").weight


def test_unknown_group_fails_an_assertion() -> None:
    cut = builtin("mlp")
    with pytest.raises(AssertionError, match="no group"):
        submodel_index(cut.layout, cut.groups, {"fc9": torch.arange(3)})


def _slow_sums(layout: ParameterLayout, group: UnitGroup, vector: Tensor, role: str) -> NDArray[np.float64]:
    """Sums of each unit's entries, computed position by position."""
    sums = np.zeros(group.num_units)
    views = layout.views(vector)
    for part in group.slices:
        if part.role == role and part.segment in views:
            for unit, positions in enumerate(part.index.tolist()):
                sums[unit] += sum(float(views[part.segment].select(part.dim, p).sum()) for p in positions)
    return sums


@pytest.mark.parametrize("role", ["output", "input"])
def test_unit_sums_equal_slow_sums(role: Role) -> None:
    for cut in (builtin("cnn_mnist"), Cut(characters(2), CHARACTERS), custom("group norm")):
        sums = unit_sums(cut.layout, cut.groups, cut.values.square(), role)
        assert list(sums) == [group.name for group in cut.groups]
        for group in cut.groups:
            expected = _slow_sums(cut.layout, group, cut.values.square(), role)
            np.testing.assert_allclose(sums[group.name].numpy(), expected, rtol=1e-4)


def test_unit_sums_by_hand() -> None:
    """Linear 2->2 (weights 0-3, biases 4-5) and 2->1 (weights 6-7, bias 8)."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    groups, layout = trace_units(net, torch.zeros(2, 2)), ParameterLayout.of(net)
    vector = torch.arange(9.0)
    assert unit_sums(layout, groups, vector, "output")["0"].tolist() == [0 + 1 + 4, 2 + 3 + 5]
    assert unit_sums(layout, groups, vector, "input")["0"].tolist() == [6, 7]


def test_bits_to_units_inverts_units_to_bits() -> None:
    cut = builtin("cnn_mnist")
    kept = {"conv1": torch.tensor([7, 2]), "conv2": torch.tensor([19])}
    bits = units_to_bits(cut.groups, kept)
    assert bits.dtype == np.bool_
    assert np.flatnonzero(bits).tolist() == [2, 7, 10 + 19, *range(30, 80)]
    decoded = bits_to_units(cut.groups, bits)
    assert {name: units.tolist() for name, units in decoded.items()} == {
        "conv1": [2, 7],
        "conv2": [19],
        "fc1": list(range(50)),
    }
    assert all(units.dtype == torch.int64 for units in decoded.values())


def test_bits_to_units_rejects_another_number_of_bits() -> None:
    with pytest.raises(WireError, match="80 units"):
        bits_to_units(builtin("cnn_mnist").groups, np.ones(79, np.bool_))


def test_bits_to_units_rejects_a_group_without_units() -> None:
    bits = np.ones(80, np.bool_)
    bits[10:30] = False
    with pytest.raises(WireError, match="conv2"):
        bits_to_units(builtin("cnn_mnist").groups, bits)
