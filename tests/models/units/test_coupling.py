"""The operations through which units are followed, and the forward passes that are rejected."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.errors import ModelError
from orchestrator.models.units.coupling import follow_units
from orchestrator.models.units.groups import Couplings
from tests.support.submodels import Forward

IMAGES = torch.zeros(2, 3, 8, 8)


def test_unknown_operation_is_rejected_with_its_layer() -> None:
    block = Forward(lambda m, x: m.linear(x).cumsum(1), linear=nn.Linear(3, 4))
    net = nn.Sequential(block, nn.Linear(4, 2))
    assert _rejected_at(net, torch.zeros(2, 3), "unknown") == "0.cumsum"


def test_unknown_layer_is_rejected_by_name() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.TransformerEncoderLayer(4, 1, batch_first=True), nn.Linear(4, 2))
    assert _rejected_at(net, torch.zeros(2, 5, 3), "unknown") == "1"


def test_unknown_operation_before_the_first_layer_is_allowed() -> None:
    net = Forward(
        lambda m, x: m.net(x.cumsum(1)), net=nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    )
    assert [group.name for group in _followed(net, torch.zeros(2, 3)).groups()] == ["net.0"]


def test_constant_size_in_a_reshape_is_rejected() -> None:
    net = Forward(lambda m, x: m.fc(m.conv(x).view(-1, 256)), conv=nn.Conv2d(3, 4, 1), fc=nn.Linear(256, 2))
    assert _rejected_at(net, IMAGES, "256") == "view after conv"


def test_branch_on_data_is_rejected() -> None:
    net = Forward(lambda m, x: m.fc(x) if x.sum() > 0 else m.fc(-x), fc=nn.Linear(3, 2))
    assert _rejected_at(net, torch.zeros(2, 3), "torch.fx") == "Forward"


def test_weight_computed_from_other_tensors_is_rejected() -> None:
    normalised = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4))
    net = nn.Sequential(normalised, nn.ReLU(), nn.Linear(4, 2))
    assert _rejected_at(net, torch.zeros(2, 3), "weight is computed") == "0"


def test_other_threads_compute_and_trace_meanwhile() -> None:
    """torch.fx replaces the call of all modules of a process while it traces one of them."""
    began, may_end = threading.Event(), threading.Event()

    def slow(module: nn.Module, inputs: Tensor) -> Tensor:
        if not isinstance(inputs, Tensor):  # torch.fx calls the forward pass with a proxy
            began.set()
            may_end.wait()
        result: Tensor = module.net(inputs)
        return result

    layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    other = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    inputs = torch.ones(2, 3)
    expected = other(inputs)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(_followed, Forward(slow, net=layers), inputs)
        began.wait()
        found = other(inputs)
        second = threads.submit(_followed, other, inputs)
        may_end.set()
    assert torch.equal(found, expected)
    assert [group.name for group in first.result().groups()] == ["net.0"]
    assert [group.name for group in second.result().groups()] == ["0"]


def _followed(module: nn.Module, example: Tensor = IMAGES) -> Couplings:
    couplings = Couplings([name for name, _ in module.named_modules()])
    follow_units(module, example, couplings)
    return couplings


def _rejected_at(module: nn.Module, example: Tensor, token: str) -> object:
    """The operation or layer that the error names; its problem contains `token`."""
    with pytest.raises(ModelError) as caught:
        _followed(module, example)
    assert caught.value.field == "model.name"
    assert token in caught.value.problem
    return caught.value.value


def _columns(module: nn.Module) -> list[list[int]]:
    """Columns of `head` for each unit of the only group."""
    (group,) = _followed(module).groups()
    return next(part.index.tolist() for part in group.slices if part.segment == "head.weight")


def _with_head(function: Callable[[Tensor], Tensor], num_columns: int) -> nn.Module:
    """Two channels of 8x8, a function of them, and a linear layer over its flattened result."""
    return Forward(
        lambda m, x: m.head(function(m.conv(x)).flatten(1)),
        conv=nn.Conv2d(3, 2, 1),
        head=nn.Linear(num_columns, 5),
    )


@pytest.mark.parametrize(
    ("function", "num_columns", "columns"),
    [
        (lambda x: F.avg_pool2d(x, 4), 8, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (lambda x: x.mean((2, 3)), 2, [[0], [1]]),
        (lambda x: x.amax(2, keepdim=True).amax(3), 2, [[0], [1]]),
        (lambda x: F.pad(x.mean((2, 3)), (1, 2)), 5, [[1], [2]]),
        (lambda x: x.mean((2, 3)).softmax(0), 2, [[0], [1]]),
        (lambda x: x.permute(0, 2, 3, 1).mean((1, 2)), 2, [[0], [1]]),
        (lambda x: torch.cat([x.mean((2, 3)), torch.zeros(2, 1)], 1), 3, [[0], [1]]),
    ],
    ids=[
        "pooling",
        "mean",
        "kept dimension",
        "padding",
        "softmax over samples",
        "permutation",
        "concatenation",
    ],
)
def test_units_are_followed_to_the_columns_of_the_next_layer(
    function: Callable[[Tensor], Tensor], num_columns: int, columns: list[list[int]]
) -> None:
    assert _columns(_with_head(function, num_columns)) == columns


@pytest.mark.parametrize(
    ("function", "num_columns"),
    [
        (lambda x: x.mean(1), 64),
        (lambda x: x.softmax(1), 128),
        (lambda x: x[:, :1], 64),
        (lambda x: x.transpose(1, 2) + x.mean(), 128),
        (lambda x: F.max_pool2d(x.transpose(1, 3), 2), 32),
        (lambda x: x.transpose(1, 2)[:, :2] @ x, 32),
        (lambda x: x.permute(0, 3, 2, 1) @ x.permute(0, 3, 1, 2), 512),
        (lambda x: x.transpose(1, 2) @ x.permute(0, 2, 3, 1), 32),
        (lambda x: F.scaled_dot_product_attention(*[x.transpose(1, 3)] * 3), 128),
        (lambda x: torch.cat(x.chunk(2, dim=1), 1), 128),
        (lambda x: x.unbind(1)[0], 64),
    ],
    ids=[
        "mean",
        "softmax",
        "selection",
        "sum over all",
        "pooling over units",
        "units in different dimensions of a product",
        "product that sums over units",
        "units as rows and columns",
        "attention over units",
        "chunks of one unit",
        "one unit alone",
    ],
)
def test_operations_that_mix_or_select_units_fix_them(
    function: Callable[[Tensor], Tensor], num_columns: int
) -> None:
    couplings = _followed(_with_head(function, num_columns))
    assert couplings.first_fixed is not None
    assert couplings.groups() == ()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x @ torch.ones(1, 2, 8, 8),
        lambda x: F.scaled_dot_product_attention(x, torch.ones(2, 2, 8, 8), x),
    ],
    ids=["product", "attention"],
)
def test_constants_for_each_unit_fix_the_units(function: Callable[[Tensor], Tensor]) -> None:
    assert _followed(_with_head(function, 128)).groups() == ()


def test_heads_are_units_and_their_parts_stay_together() -> None:
    """Two heads of 3 outputs each: rows 0-2 and 3-5."""
    net = Forward(
        lambda m, x: m.head(m.query(x).view(2, 5, -1, 3).transpose(1, 2).relu().transpose(1, 2).flatten(2)),
        query=nn.Linear(4, 6),
        head=nn.Linear(6, 2),
    )
    (group,) = _followed(net, torch.zeros(2, 5, 4)).groups()
    heads = [[0, 1, 2], [3, 4, 5]]
    assert [part.index.tolist() for part in group.slices] == [heads, heads, heads]


def test_constant_number_of_heads_keeps_them_whole() -> None:
    net = Forward(
        lambda m, x: m.head(m.query(x).view(2, 5, 2, 3).relu().flatten(2)),
        query=nn.Linear(4, 6),
        head=nn.Linear(6, 2),
    )
    couplings = _followed(net, torch.zeros(2, 5, 4))
    assert couplings.groups() == ()
    assert couplings.first_fixed == (
        "view after query",
        "the operation splits the units or selects some of them",
    )


def test_grouped_query_attention_is_rejected() -> None:
    net = _with_head(lambda x: F.scaled_dot_product_attention(x, x, x, enable_gqa=True), 128)
    assert _rejected_at(net, IMAGES, "unknown") == "scaled_dot_product_attention after conv"


def test_product_with_a_vector_is_rejected() -> None:
    net = _with_head(lambda x: x @ torch.ones(8), 16)
    assert _rejected_at(net, IMAGES, "unknown") == "matmul after conv"


def test_operands_with_units_in_different_dimensions_are_fixed() -> None:
    net = Forward(
        lambda m, x: m.head((m.rows(x) + m.columns(x.transpose(1, 2)).transpose(1, 2)).flatten(1)),
        rows=nn.Linear(4, 4),
        columns=nn.Linear(4, 4),
        head=nn.Linear(16, 2),
    )
    couplings = _followed(net, torch.zeros(2, 4, 4))
    assert couplings.groups() == ()


def test_padding_with_other_values_than_a_constant_is_rejected() -> None:
    net = _with_head(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), 200)
    assert _rejected_at(net, IMAGES, "unknown") == "pad after conv"


def test_module_is_followed_on_a_copy() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    _followed(net, torch.ones(2, 3, 8, 8))
    assert all(layer.training for layer in net.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
