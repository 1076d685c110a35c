"""The sizes that a reshape names, and the dimension that counts units after a split."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

from orchestrator.models.units.reshaping import named_sizes, unit_dim


def _sizes(function: Callable[[Tensor], Tensor]) -> dict[int, object]:
    """Sizes of the function's last call; its input has three dimensions."""
    graph = fx.symbolic_trace(function).graph  # type: ignore[arg-type]
    return named_sizes([node for node in graph.nodes if node.op.startswith("call")][-1], 3)


@pytest.mark.parametrize(
    ("function", "sizes"),
    [
        (lambda x: x.view(2, -1, 4), {0: 2, 1: -1, 2: 4}),
        (lambda x: x.reshape((2, -1)), {0: 2, 1: -1}),
        (lambda x: torch.reshape(x, (6, -1)), {0: 6, 1: -1}),
        (lambda x: x.unflatten(2, (-1, 4)), {2: -1, 3: 4}),
        (lambda x: x.unflatten(-1, (3, -1)), {2: 3, 3: -1}),
        (lambda x: torch.unflatten(x, 1, (-1, 4)), {1: -1, 2: 4}),
        (lambda x: x.transpose(0, 1), {}),
    ],
    ids=["view", "tuple", "function", "unflatten", "negative dimension", "torch.unflatten", "transpose"],
)
def test_sizes_by_dimension(function: Callable[[Tensor], Tensor], sizes: dict[int, object]) -> None:
    assert _sizes(function) == sizes


def test_computed_size_is_a_node() -> None:
    sizes = _sizes(lambda x: x.view(x.size(0), -1))
    assert isinstance(sizes[0], fx.Node)
    assert sizes[1] == -1


@pytest.mark.parametrize(
    ("sizes", "varying", "dim"),
    [
        ({2: -1, 3: 4}, [2, 3], 2),
        ({0: 5, 1: 3, 2: -1, 3: 4}, [1, 2, 3], 2),
        ({2: 3, 3: 4}, [2, 3], None),
        ({0: -1, 2: 3, 3: 4}, [2, 3], None),
        ({2: -1}, [2, 3], None),
        ({}, [0, 1], None),
    ],
    ids=["heads", "packed heads", "constant heads", "free batch", "unnamed size", "no reshape"],
)
def test_units_are_counted_along_the_free_dimension(
    sizes: dict[int, object], varying: list[int], dim: int | None
) -> None:
    assert unit_dim(sizes, varying) == dim


def test_computed_size_of_a_part_is_not_constant() -> None:
    """A submodel could compute another size, so the units of such a split are not known."""
    node = fx.Graph().placeholder("x")
    assert unit_dim({2: -1, 3: node}, [2, 3]) is None
