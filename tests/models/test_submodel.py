"""Submodels cut out of a model: their entries, and that they compute what the masked full model does."""

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

from orchestrator.errors import WireError
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.registry import resolve_builder
from orchestrator.models.submodel import (
    KeptUnits,
    bits_to_units,
    first_units,
    shrink,
    submodel_index,
    unit_mask,
    unit_sums,
    units_to_bits,
)
from orchestrator.models.units import Role, UnitGroup, trace_units
from tests.fakes import normalised_net

RATIOS = (1.0, 0.5, 0.25, 1 / 16)

BUILTIN: dict[str, tuple[int, int, int]] = {
    "mlp": (1, 8, 8),
    "lenet_mnist": (1, 28, 28),
    "lenet_cifar": (3, 32, 32),
    "cnn_emnist": (1, 8, 8),
    "cnn_mnist": (1, 28, 28),
    "cnn_cifar": (3, 32, 32),
    "vgg11": (3, 32, 32),
    "resnet18": (3, 16, 16),
}


class Forward(nn.Module):
    """Layers by name, and the function that applies them."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self, inputs)


def _characters(num_layers: int = 1) -> nn.Module:
    return Forward(
        lambda m, x: m.head(m.lstm(m.embed(x))[0][:, -1]),
        embed=nn.Embedding(11, 8),
        lstm=nn.LSTM(8, 32, num_layers, batch_first=True),
        head=nn.Linear(32, 11),
    )


def _last_state(m: Any, x: Tensor) -> Any:
    _, (hidden, _) = m.lstm(m.embed(x))
    return m.head(hidden[-1])


def _tied() -> nn.Module:
    embed, head = nn.Embedding(11, 8), nn.Linear(8, 11)
    head.weight = embed.weight
    return Forward(
        lambda m, x: m.head(m.lstm(m.embed(x))[0].mean(dim=1)),
        embed=embed,
        lstm=nn.LSTM(8, 8, batch_first=True),
        head=head,
    )


def _squeeze_and_excite(m: Any, x: Tensor) -> Any:
    x = m.conv(x)
    gate = m.up(m.down(x.mean((2, 3))).relu()).sigmoid()
    return m.head((x * gate[:, :, None, None]).amax((-2, -1)))


def _padded_shortcut(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    wide = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    return m.head(torch.flatten(torch.relu(m.conv(x) + wide), 1))


#: models whose layers and operations the built-in ones lack, and an input batch for each
CHARACTERS, PICTURES = (3, 5), (3, 3, 8, 8)
OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch norm": (lambda: normalised_net((3, 8, 8), 4), PICTURES),
    "lstm": (_characters, CHARACTERS),
    "lstm of two layers": (lambda: _characters(2), CHARACTERS),
    "lstm state": (
        lambda: Forward(_last_state, embed=nn.Embedding(11, 4), lstm=nn.LSTM(4, 8, 2), head=nn.Linear(8, 3)),
        CHARACTERS,
    ),
    "flattened gru": (
        lambda: Forward(
            lambda m, x: m.head(m.gru(m.embed(x))[0].reshape(x.size(0), -1)),
            embed=nn.Embedding(11, 4),
            gru=nn.GRU(4, 8, batch_first=True),
            head=nn.Linear(40, 3),
        ),
        CHARACTERS,
    ),
    "tied embedding": (_tied, CHARACTERS),
    "text convolution": (
        lambda: Forward(
            lambda m, x: m.head(m.norm(m.conv(m.embed(x).transpose(1, 2))).mean(-1)),
            embed=nn.Embedding(11, 4),
            conv=nn.Conv1d(4, 8, 3),
            norm=nn.InstanceNorm1d(8),
            head=nn.Linear(8, 3),
        ),
        CHARACTERS,
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.PReLU(8),
            nn.Conv2d(8, 16, 3, groups=8),
            nn.BatchNorm2d(16),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 4, 2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 4),
        ),
        PICTURES,
    ),
    "group norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.GroupNorm(8, 16, affine=False), nn.GELU(), nn.Flatten(), nn.Linear(576, 3)
        ),
        PICTURES,
    ),
    "concatenation": (
        lambda: Forward(
            lambda m, x: m.head(m.norm(torch.cat([m.left(x), x, m.right(x)], 1)).flatten(1)),
            left=nn.Conv2d(3, 4, 1),
            right=nn.Conv2d(3, 8, 1),
            norm=nn.BatchNorm2d(15),
            head=nn.Linear(960, 3),
        ),
        PICTURES,
    ),
    "squeeze and excite": (
        lambda: Forward(
            _squeeze_and_excite,
            conv=nn.Conv2d(3, 8, 3),
            down=nn.Linear(8, 4),
            up=nn.Linear(4, 8),
            head=nn.Linear(8, 3),
        ),
        PICTURES,
    ),
    "padded shortcut": (
        lambda: Forward(
            _padded_shortcut,
            stem=nn.Conv2d(3, 4, 3, padding=1),
            conv=nn.Conv2d(4, 8, 3, stride=2, padding=1),
            head=nn.Linear(128, 3),
        ),
        PICTURES,
    ),
}


class Cut:
    """A model with random weights (biases, norms and statistics too), its groups, and a batch."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(5)
        self.batch = (
            torch.from_numpy(self.rng.integers(0, 11, shape))
            if shape == CHARACTERS
            else torch.from_numpy(self.rng.normal(size=shape).astype(np.float32))
        )
        self.groups = trace_units(module, self.batch)
        self.flat = FlatModule(module.eval())
        self.layout = self.flat.layout
        for segment in self.layout.segments:
            scale = np.prod(segment.shape[1:]) ** -0.5 if segment.maskable else 0.5
            values = torch.from_numpy(self.rng.normal(scale=scale, size=segment.size).astype(np.float32))
            # variances among the buffers are positive
            self.flat.values[segment.slice] = values.abs() + 0.1 if segment.kind == "buffer" else values
        self.values = self.flat.values.clone()

    def counts(self, ratio: float) -> dict[str, int]:
        return {group.name: ceil(ratio * group.num_units) for group in self.groups}

    def random_units(self, ratio: float, *, ordered: bool = True) -> KeptUnits:
        kept = {}
        for group in self.groups:
            units = self.rng.permutation(group.num_units)[: ceil(ratio * group.num_units)]
            kept[group.name] = torch.from_numpy(np.sort(units) if ordered else units)
        return kept

    def masked_output(self, kept: KeptUnits) -> Tensor:
        self.flat.load(self.values * unit_mask(self.layout, self.groups, kept))
        with torch.no_grad():
            output: Tensor = self.flat.module(self.batch)
        return output

    def submodel(self, kept: KeptUnits) -> FlatModule:
        num_kept = {name: len(units) for name, units in kept.items()}
        flat = FlatModule(shrink(self.flat.module, self.groups, num_kept).eval())
        flat.load(self.values[submodel_index(self.layout, self.groups, kept)])
        return flat

    def submodel_output(self, kept: KeptUnits) -> Tensor:
        with torch.no_grad():
            output: Tensor = self.submodel(kept).module(self.batch)
        return output


def _builtin(name: str) -> Cut:
    shape = BUILTIN[name]
    return Cut(resolve_builder(name)(shape, 10), (2, *shape))


def _other(name: str) -> Cut:
    build, shape = OTHERS[name]
    return Cut(build(), shape)


def _assert_exact(cut: Cut, kept: KeptUnits) -> None:
    expected = cut.masked_output(kept)
    assert expected.std() > 1e-3
    torch.testing.assert_close(cut.submodel_output(kept), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", BUILTIN)
def test_builtin_submodel_computes_what_the_masked_model_does(name: str) -> None:
    cut = _builtin(name)
    for ratio in RATIOS:
        _assert_exact(cut, cut.random_units(ratio))
        _assert_exact(cut, first_units(cut.groups, cut.counts(ratio)))


@pytest.mark.parametrize("name", OTHERS)
def test_submodel_of_any_model_computes_what_the_masked_model_does(name: str) -> None:
    cut = _other(name)
    for ratio in RATIOS:
        _assert_exact(cut, cut.random_units(ratio))
        _assert_exact(cut, cut.random_units(ratio, ordered=False))


@pytest.mark.parametrize("name", ["lstm of two layers", "flattened gru", "depthwise", "concatenation"])
def test_reordering_all_units_changes_the_entries_but_not_the_function(name: str) -> None:
    cut = _other(name)
    reordered = cut.random_units(1.0, ordered=False)
    index = submodel_index(cut.layout, cut.groups, reordered)
    assert not torch.equal(index, torch.arange(cut.layout.size))
    assert torch.equal(index.sort().values, torch.arange(cut.layout.size))
    torch.testing.assert_close(cut.submodel_output(reordered), cut.masked_output({}), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", ["mlp", "cnn_mnist", "resnet18"])
def test_index_fits_the_layout_of_the_smaller_module(name: str) -> None:
    cut = _builtin(name)
    kept = cut.random_units(0.25)
    index, sub = submodel_index(cut.layout, cut.groups, kept), cut.submodel(kept).layout
    assert len(index) == sub.size == len(set(index.tolist()))
    for full, small in zip(cut.layout.segments, sub.segments, strict=True):
        assert (full.name, full.kind, full.maskable) == (small.name, small.kind, small.maskable)
        part = index[small.slice]
        assert full.offset <= part.min()
        assert part.max() < full.offset + full.size


def test_gather_then_scatter_is_the_identity_and_touches_only_the_mask() -> None:
    cut = _builtin("cnn_mnist")
    kept = cut.random_units(0.5, ordered=False)
    index, mask = submodel_index(cut.layout, cut.groups, kept), unit_mask(cut.layout, cut.groups, kept)
    again = cut.values.clone()
    again[index] = cut.values[index]
    assert torch.equal(again, cut.values)
    again[index] = 0.0
    assert torch.equal(again, cut.values * ~mask)
    assert int(mask.sum()) == len(index)


@pytest.mark.parametrize("name", ["cnn_cifar", "resnet18"])
def test_whole_model_is_its_own_submodel(name: str) -> None:
    cut = _builtin(name)
    everything = first_units(cut.groups, {group.name: group.num_units for group in cut.groups})
    for kept in (everything, first_units(cut.groups, {})):
        assert torch.equal(submodel_index(cut.layout, cut.groups, kept), torch.arange(cut.layout.size))


def test_half_of_cnn_mnist_has_these_shapes() -> None:
    cut = _builtin("cnn_mnist")
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
    assert repr(sub.get_submodule("conv2")) == "Conv2d(5, 10, kernel_size=(5, 5), stride=(1, 1))"
    assert repr(sub.get_submodule("fc1")) == "Linear(in_features=160, out_features=25, bias=True)"


def test_hand_derived_entries_of_two_kept_channels() -> None:
    """Conv 1->3 of 1x1, flatten 2x2, linear 12->2: weights 0-2, biases 3-5, head 6-29 and 30-31."""
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(12, 2))
    groups, layout = trace_units(net, torch.zeros(2, 1, 2, 2)), ParameterLayout.of(net)
    index = submodel_index(layout, groups, {"0": torch.tensor([2, 0])})
    head = [[14, 15, 16, 17, 6, 7, 8, 9], [26, 27, 28, 29, 18, 19, 20, 21]]
    assert index.tolist() == [2, 0, 5, 3, *head[0], *head[1], 30, 31]


def test_hand_derived_sizes_of_a_shrunken_lstm() -> None:
    cut = Cut(_characters(), CHARACTERS)
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


def test_shrunken_group_norm_keeps_the_channels_of_a_group() -> None:
    cut = _builtin("resnet18")
    sub = shrink(cut.flat.module, cut.groups, {"stage2.0.conv2": 5})
    norm = sub.get_submodule("stage2.0.shortcut.1")
    assert isinstance(norm, nn.GroupNorm)
    assert (norm.num_groups, norm.num_channels) == (5, 20)
    assert sub.get_parameter("stage3.0.conv1.weight").shape == (256, 20, 3, 3)


def test_shrinking_shares_nothing_with_the_full_model() -> None:
    cut = _other("batch norm")
    before, batches = cut.values.clone(), cut.flat.module.get_buffer("1.num_batches_tracked")
    sub = FlatModule(shrink(cut.flat.module, cut.groups, {"0": 2}).train())
    sub.module(cut.batch).sum().backward()
    sub.values.fill_(7.0)
    assert torch.equal(cut.flat.values, before)
    assert not cut.flat.grad.any()
    assert (int(batches), int(sub.module.get_buffer("1.num_batches_tracked"))) == (0, 1)
    assert cut.flat.module.get_submodule("0").out_channels == 4


def test_gradient_of_the_submodel_is_that_of_the_masked_model() -> None:
    cut = Cut(_characters(2), CHARACTERS)
    kept = cut.random_units(0.25)
    sub, index = cut.submodel(kept), submodel_index(cut.layout, cut.groups, kept)
    sub.module(cut.batch).square().sum().backward()
    cut.flat.load(cut.values * unit_mask(cut.layout, cut.groups, kept))
    cut.flat.module(cut.batch).square().sum().backward()
    torch.testing.assert_close(sub.grad, cut.flat.grad[index], atol=1e-5, rtol=1e-4)


def test_shrinking_a_submodel_of_a_tied_model_keeps_the_tie() -> None:
    cut = Cut(_tied(), CHARACTERS)
    assert [(group.name, group.num_units) for group in cut.groups] == [("embed", 8)]
    sub = shrink(cut.flat.module, cut.groups, {"embed": 3})
    assert sub.get_parameter("embed.weight") is sub.get_submodule("head").weight


def test_unknown_group_is_our_own_mistake() -> None:
    cut = _builtin("mlp")
    with pytest.raises(AssertionError, match="no group"):
        submodel_index(cut.layout, cut.groups, {"fc9": torch.arange(3)})


def _slow_sums(layout: ParameterLayout, group: UnitGroup, vector: Tensor, role: str) -> NDArray[np.float64]:
    """Adds every entry to the units whose positions it has."""
    sums = np.zeros(group.num_units)
    views = layout.views(vector)
    for part in group.slices:
        if part.role == role and part.segment in views:
            for unit, positions in enumerate(part.index.tolist()):
                sums[unit] += sum(float(views[part.segment].select(part.dim, p).sum()) for p in positions)
    return sums


@pytest.mark.parametrize("role", ["output", "input"])
def test_sums_over_the_entries_of_each_unit(role: Role) -> None:
    for cut in (_builtin("cnn_mnist"), Cut(_characters(2), CHARACTERS), _other("group norm")):
        sums = unit_sums(cut.layout, cut.groups, cut.values.square(), role)
        assert list(sums) == [group.name for group in cut.groups]
        for group in cut.groups:
            expected = _slow_sums(cut.layout, group, cut.values.square(), role)
            np.testing.assert_allclose(sums[group.name].numpy(), expected, rtol=1e-4)


def test_hand_derived_sums() -> None:
    """Linear 2->2 (weights 0-3, biases 4-5) and 2->1 (weights 6-7, bias 8)."""
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    groups, layout = trace_units(net, torch.zeros(2, 2)), ParameterLayout.of(net)
    vector = torch.arange(9.0)
    assert unit_sums(layout, groups, vector, "output")["0"].tolist() == [0 + 1 + 4, 2 + 3 + 5]
    assert unit_sums(layout, groups, vector, "input")["0"].tolist() == [6, 7]


def test_units_as_bits_and_back() -> None:
    cut = _builtin("cnn_mnist")
    kept = {"conv1": torch.tensor([7, 2]), "conv2": torch.tensor([19])}
    bits = units_to_bits(cut.groups, kept)
    assert bits.dtype == np.bool_
    assert np.flatnonzero(bits).tolist() == [2, 7, 10 + 19, *range(30, 80)]
    again = bits_to_units(cut.groups, bits)
    assert {name: units.tolist() for name, units in again.items()} == {
        "conv1": [2, 7],
        "conv2": [19],
        "fc1": list(range(50)),
    }
    assert all(units.dtype == torch.int64 for units in again.values())


def test_bits_of_another_model_and_empty_groups_are_refused() -> None:
    groups = _builtin("cnn_mnist").groups
    with pytest.raises(WireError, match="80 units"):
        bits_to_units(groups, np.ones(79, np.bool_))
    bits = np.ones(80, np.bool_)
    bits[10:30] = False
    with pytest.raises(WireError, match="no unit of conv2"):
        bits_to_units(groups, bits)
