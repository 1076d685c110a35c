"""The kinds of layers and functions."""

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from orchestrator.models.units.operations import MODULE_KINDS, OperationKind, function_kind


def _kind(function: Callable[[Tensor], object]) -> OperationKind:
    """The kind of the last operation of a function."""
    graph = fx.symbolic_trace(function).graph  # type: ignore[arg-type]
    return function_kind([node for node in graph.nodes if node.op.startswith("call")][-1])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + x,
        lambda x: x.add(x),
        lambda x: x.add_(x),
        lambda x: torch.add(x, x),
        lambda x: operator.iadd(x, x),
    ],
    ids=["operator", "method", "in place", "torch", "augmented"],
)
def test_all_spellings_of_a_sum_have_one_kind(function: Callable[[Tensor], object]) -> None:
    assert _kind(function) is OperationKind.ELEMENTWISE


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda x: F.max_pool2d(x, 2), OperationKind.SPATIAL),
        (lambda x: F.log_softmax(x, dim=1), OperationKind.SOFTMAX),
        (lambda x: F.pad(x, (1, 1)), OperationKind.PAD),
        (lambda x: x.mean((2, 3)), OperationKind.REDUCTION),
        (lambda x: torch.flatten(x, 1), OperationKind.MOVEMENT),
        (lambda x: x[:, 0], OperationKind.MOVEMENT),
        (lambda x: x.cumsum(1), OperationKind.UNKNOWN),
        (lambda x: x @ x, OperationKind.MATMUL),
        (lambda x: F.scaled_dot_product_attention(x, x, x), OperationKind.ATTENTION),
        (lambda x: x.unflatten(1, (-1, 2)), OperationKind.MOVEMENT),
        (lambda x: x.chunk(2), OperationKind.MOVEMENT),
        (lambda x: torch.einsum("ij,jk->ik", x, x), OperationKind.UNKNOWN),
    ],
)
def test_kind_of_a_function(function: Callable[[Tensor], object], kind: OperationKind) -> None:
    assert _kind(function) is kind


def add(x: Tensor) -> Tensor:
    """A user's function with the name of torch's function."""
    return x


fx.wrap("add")


def test_function_of_another_package_is_unknown_whatever_its_name() -> None:
    assert _kind(lambda x: add(x)) is OperationKind.UNKNOWN


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.Conv1d(2, 3, 1), OperationKind.LAYER),
        (nn.ConvTranspose2d(2, 3, 1), OperationKind.LAYER),
        (nn.GRU(2, 3), OperationKind.LAYER),
        (nn.InstanceNorm2d(2), OperationKind.LAYER),
        (nn.LayerNorm(2), OperationKind.LAYER_NORM),
        (nn.Softmax(1), OperationKind.SOFTMAX),
        (nn.LocalResponseNorm(2), OperationKind.MIX),
        (nn.Dropout2d(), OperationKind.ELEMENTWISE),
        (nn.AdaptiveAvgPool2d(1), OperationKind.SPATIAL),
        (nn.Flatten(), OperationKind.MOVEMENT),
    ],
)
def test_kind_of_a_layer(layer: nn.Module, kind: OperationKind) -> None:
    assert next(found for types, found in MODULE_KINDS if isinstance(layer, types)) is kind
