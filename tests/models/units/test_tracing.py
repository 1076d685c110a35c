"""The groups of units that tracing finds in a model, and the models that it rejects."""

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.registry import resolve_builder
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.tracing import trace_units
from tests.support.submodels import Forward

IMAGES = torch.zeros(2, 3, 8, 8)


def _slices(group: UnitGroup) -> dict[tuple[str, int, str], list[list[int]]]:
    return {(part.segment, part.dim, part.role): part.index.tolist() for part in group.slices}


def _names(groups: tuple[UnitGroup, ...]) -> list[str]:
    return [group.name for group in groups]


def _tensors(group: UnitGroup, role: str) -> set[str]:
    return {part.segment for part in group.slices if part.role == role}


def _rejected_at(module: nn.Module, example: Tensor, token: str = "") -> object:
    """The operation or layer that the error names; its problem contains `token`."""
    with pytest.raises(ModelError) as caught:
        trace_units(module, example)
    assert caught.value.field == "model.name"
    assert token in caught.value.problem
    return caught.value.value


def _builtin(name: str) -> tuple[UnitGroup, ...]:
    return trace_units(resolve_builder(name)((3, 32, 32), 10), torch.zeros(2, 3, 32, 32))


def test_channel_owns_filter_bias_norm_and_the_columns_after_a_flatten() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )
    (group,) = trace_units(net, torch.zeros(2, 1, 6, 6))
    assert (group.name, group.num_units) == ("0", 2)
    own = [[0], [1]]
    assert _slices(group) == {
        ("0.weight", 0, "output"): own,
        ("0.bias", 0, "output"): own,
        ("1.weight", 0, "output"): own,
        ("1.bias", 0, "output"): own,
        ("1.running_mean", 0, "output"): own,
        ("1.running_var", 0, "output"): own,
        ("5.weight", 1, "input"): [[0, 1, 2, 3], [4, 5, 6, 7]],
    }


def test_lstm_unit_owns_four_gate_rows_and_one_column() -> None:
    net = Forward(
        lambda m, x: m.head(m.lstm(m.embed(x))[0][:, -1]),
        embed=nn.Embedding(7, 2),
        lstm=nn.LSTM(2, 3, batch_first=True),
        head=nn.Linear(3, 7),
    )
    embedded, hidden = trace_units(net, torch.zeros(2, 5, dtype=torch.int64))
    gates = [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    own = [[0], [1], [2]]
    assert (embedded.name, embedded.num_units, hidden.name, hidden.num_units) == ("embed", 2, "lstm", 3)
    assert _slices(embedded) == {
        ("embed.weight", 1, "output"): own[:2],
        ("lstm.weight_ih_l0", 1, "input"): own[:2],
    }
    assert _slices(hidden) == {
        ("lstm.weight_ih_l0", 0, "output"): gates,
        ("lstm.weight_hh_l0", 0, "output"): gates,
        ("lstm.bias_ih_l0", 0, "output"): gates,
        ("lstm.bias_hh_l0", 0, "output"): gates,
        ("lstm.weight_hh_l0", 1, "input"): own,
        ("head.weight", 1, "input"): own,
    }


def test_channels_that_a_group_norm_normalises_together_are_one_unit() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(3, 6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(1))
    (group,) = trace_units(net, IMAGES)
    pairs = [[0, 1], [2, 3], [4, 5]]
    assert group.num_units == 3
    assert _slices(group)["1.bias", 0, "output"] == _slices(group)["3.weight", 1, "input"] == pairs


def test_norm_without_parameters_has_a_slice() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.GroupNorm(3, 6, affine=False), nn.Conv2d(6, 4, 1), nn.Flatten()
    )
    (group,) = trace_units(net, IMAGES)
    assert _slices(group)["1.weight", 0, "output"] == [[0, 1], [2, 3], [4, 5]]


def test_residual_sum_couples_block_output_shortcut_and_next_input() -> None:
    groups = {group.name: group for group in _builtin("resnet18")}
    assert list(groups)[:5] == [
        "conv1",
        "stage1.0.conv1",
        "stage1.1.conv1",
        "stage2.0.conv1",
        "stage2.0.conv2",
    ]
    assert {group.num_units for group in groups.values()} == {32}
    joined = groups["stage2.0.conv2"]
    outputs, inputs = _tensors(joined, "output"), _tensors(joined, "input")
    assert {"stage2.0.conv2.weight", "stage2.0.shortcut.0.weight", "stage2.1.conv2.weight"} <= outputs
    assert inputs == {"stage2.1.conv1.weight", "stage3.0.conv1.weight", "stage3.0.shortcut.0.weight"}
    assert "fc.weight" in _tensors(groups["stage4.0.conv2"], "input")


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("mlp", {"fc1": 200, "fc2": 100}),
        ("lenet_cifar", {"conv1": 6, "conv2": 16, "fc1": 120, "fc2": 84}),
        (
            "vgg11",
            {"conv1": 64, "conv2": 128, "conv3": 256, "conv4": 256}
            | {f"conv{depth}": 512 for depth in (5, 6, 7, 8)},
        ),
    ],
)
def test_hidden_layers_are_groups_in_module_order(name: str, units: dict[str, int]) -> None:
    assert [(group.name, group.num_units) for group in _builtin(name)] == list(units.items())


def test_depthwise_convolution_couples_its_output_to_its_input() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 5, 1), nn.Flatten())
    (group,) = trace_units(net, IMAGES)
    pairs = [[0, 1], [2, 3]]
    assert _slices(group) == {
        ("0.weight", 0, "output"): [[0], [1]],
        ("0.bias", 0, "output"): [[0], [1]],
        ("1.weight", 0, "output"): pairs,
        ("1.bias", 0, "output"): pairs,
        ("2.weight", 1, "input"): pairs,
    }


def test_concatenated_layers_keep_their_own_groups() -> None:
    net = Forward(
        lambda m, x: m.head(torch.cat([x, m.left(x), m.right(x)], dim=1).mean((2, 3))),
        left=nn.Conv2d(3, 2, 1),
        right=nn.Conv2d(3, 4, 1),
        head=nn.Linear(9, 5),
    )
    left, right = trace_units(net, IMAGES)
    assert _slices(left)["head.weight", 1, "input"] == [[3], [4]]
    assert _slices(right)["head.weight", 1, "input"] == [[5], [6], [7], [8]]


def test_units_added_to_part_of_a_layer_make_a_group_of_their_own() -> None:
    net = Forward(
        lambda m, x: m.head(m.wide(x) + torch.cat([m.narrow(x), x], dim=1)),
        narrow=nn.Linear(3, 2),
        wide=nn.Linear(3, 5),
        head=nn.Linear(5, 4),
    )
    (group,) = trace_units(net, torch.zeros(2, 3))
    assert group.name == "narrow"
    assert _slices(group)["wide.weight", 0, "output"] == [[0], [1]]


def test_groups_that_share_a_first_layer_have_different_names() -> None:
    net = Forward(
        lambda m, x: m.head(m.wide(x) + torch.cat([m.left(x), m.right(x)], dim=1)),
        wide=nn.Linear(3, 5),
        left=nn.Linear(3, 2),
        right=nn.Linear(3, 3),
        head=nn.Linear(5, 4),
    )
    groups = trace_units(net, torch.zeros(2, 3))
    assert [(group.name, group.num_units) for group in groups] == [("wide", 2), ("wide#1", 3)]
    assert _slices(groups[1])["wide.bias", 0, "output"] == [[2], [3], [4]]


def test_layer_that_also_takes_the_models_input_is_not_cut() -> None:
    net = Forward(
        lambda m, x: m.head(torch.relu(m.shared(torch.relu(m.shared(x))))),
        shared=nn.Linear(3, 3),
        head=nn.Linear(3, 2),
    )
    assert _rejected_at(net, torch.zeros(2, 3)) == "Forward"


def test_units_in_reverse_order_before_a_sum_are_not_cut() -> None:
    net = Forward(
        lambda m, x: m.head(m.middle(x) + m.first(x)[:, [3, 2, 1, 0]]),
        first=nn.Linear(3, 4),
        middle=nn.Linear(3, 4),
        head=nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)),
    )
    assert _names(trace_units(net, torch.zeros(2, 3))) == ["head.0"]


def test_inputs_of_a_layer_norm_are_not_cut() -> None:
    net = nn.Sequential(
        nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), nn.Softmax(dim=1)
    )
    assert _names(trace_units(net, torch.zeros(2, 3))) == ["2"]


def test_model_whose_only_hidden_layer_is_mixed_is_rejected_at_the_norm() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    assert _rejected_at(net, torch.zeros(2, 3), "mixes") == "1"


def test_forward_pass_that_fails_with_fewer_units_is_rejected() -> None:
    """The number of features after attention is that of the input, 4, in the full model only."""
    net = Forward(
        lambda m, x: m.head(m.query(x).view(x.size(0), x.size(1), -1, 2).reshape(x.shape)),
        query=nn.Linear(4, 4),
        head=nn.Linear(4, 2),
    )
    assert _rejected_at(net, torch.zeros(2, 5, 4), "fails with fewer units") == "Forward"


def test_torchs_attention_layer_stays_whole() -> None:
    """It derives the size of a head from the number of features, so that no submodel can have fewer heads."""
    net = Forward(
        lambda m, x: m.fc2(m.fc1(x + m.attention(m.norm(x), m.norm(x), m.norm(x))[0]).relu()),
        norm=nn.LayerNorm(4),
        attention=nn.MultiheadAttention(4, 2, batch_first=True),
        fc1=nn.Linear(4, 6),
        fc2=nn.Linear(6, 3),
    )
    assert _names(trace_units(net, torch.zeros(2, 5, 4))) == ["fc1"]


def test_model_without_a_hidden_layer_is_rejected() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    assert _rejected_at(net, IMAGES, "output") == "Sequential"


def test_tracing_does_not_change_the_module() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    trace_units(net, torch.ones(2, 3, 8, 8))
    assert all(layer.training for layer in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_groups_survive_pickling() -> None:
    groups = _builtin("cnn_cifar")
    unpickled = pickle.loads(pickle.dumps(groups))  # noqa: S301
    for old, new in zip(groups, unpickled, strict=True):
        assert (old.name, old.num_units) == (new.name, new.num_units)
        assert all(np.array_equal(a.index, b.index) for a, b in zip(old.slices, new.slices, strict=True))


def test_units_around_a_frozen_layer_are_not_cut() -> None:
    """Every submodel has all frozen weights, so that neither their rows nor their columns are cut."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 4),
        nn.ReLU(),
        nn.Linear(4, 5),
        nn.ReLU(),
        nn.Linear(5, 6),
        nn.Linear(6, 3),
    )
    net[3].requires_grad_(False)
    assert _names(trace_units(net, IMAGES)) == ["5"]
