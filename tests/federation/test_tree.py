"""States become flat leaves and states again; errors name the path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.federation.tree import flatten, rebuild


@dataclass(frozen=True, kw_only=True, eq=False)
class Inner:
    moment: Tensor
    steps: int
    note: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Outer:
    params: Tensor
    inner: Inner
    rates: tuple[float, ...]
    arms: Mapping[str, Any] = field(default_factory=dict)
    flag: bool = True
    mask: Tensor | None = None


def example() -> Outer:
    return Outer(
        params=torch.tensor([1.0, -0.0, float("nan")]),
        inner=Inner(moment=torch.tensor([2.5], dtype=torch.float64), steps=3),
        rates=(0.1, 0.2),
        arms={"a": {"pulls": 4, "rewards": (1.0, None)}, "b": 2},
        mask=torch.tensor([True, False]),
    )


def same(left: object, right: object) -> bool:
    """Whether leaves are equal, with equal types and bits."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        same_type = left.dtype == right.dtype and left.shape == right.shape
        return same_type and left.numpy().tobytes() == right.numpy().tobytes()
    return type(left) is type(right) and left == right


def test_paths_and_leaves_of_a_nested_state() -> None:
    assert [path for path, _ in flatten(example())] == [
        "params",
        "inner/moment",
        "inner/steps",
        "inner/note",
        "rates/0",
        "rates/1",
        "arms/a/pulls",
        "arms/a/rewards/0",
        "arms/a/rewards/1",
        "arms/b",
        "flag",
        "mask",
    ]


def test_nested_state_is_restored_from_its_leaves() -> None:
    leaves = dict(flatten(example()))
    rebuilt = rebuild(example(), leaves)
    assert isinstance(rebuilt, Outer)
    assert isinstance(rebuilt.inner, Inner)
    again = dict(flatten(rebuilt))
    assert list(again) == list(leaves)
    assert all(same(again[path], leaf) for path, leaf in leaves.items())


@pytest.mark.parametrize("leaf", [None, True, 3, 2.5, "text"])
def test_single_leaf_is_a_tree(leaf: bool | int | float | str | None) -> None:
    assert list(flatten(leaf)) == [("", leaf)]
    assert rebuild(leaf, {"": leaf}) == leaf


def test_empty_containers_are_restored() -> None:
    template: tuple[object, ...] = ({"grown": {}}, ())
    assert list(flatten(template)) == []
    assert rebuild(template, {}) == ({}, ())


def test_mapping_has_the_keys_of_the_leaves() -> None:
    """The state may have more keys than the template.

    A key that is a prefix of another key is distinguished.
    """
    grown = {"arm": 1, "arm2": 2}
    assert rebuild({"s": {"arm": 0}}, dict(flatten({"s": grown}))) == {"s": grown}
    assert rebuild({"s": {"arm": 0, "gone": 1}}, {"s/arm": 5}) == {"s": {"arm": 5}}


def test_mapping_may_grow_by_records() -> None:
    """The arms of a bandit are small records, of which the initial state has none."""
    grown = {"arms": {"0.5": (1.0, 2), "0.25": (3.0, 4)}}
    assert rebuild({"arms": {"0.5": (0.0, 0)}}, dict(flatten(grown))) == grown


def test_missing_leaf_is_named() -> None:
    leaves = dict(flatten(example()))
    del leaves["inner/steps"]
    with pytest.raises(KeyError, match="inner/steps"):
        rebuild(example(), leaves)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1, 2], "state at the root is a list"),
        ({"a": {"b": {1, 2}}}, "state at a/b is a set"),
        ((0, [1]), "state at 1 is a list"),
        ({"a": {3: 1}}, "state at a has the key 3"),
        ({"a/b": 1}, "state at the root has the key 'a/b'"),
        ({"x": Outer}, "state at x is a type"),
        ({"x": lambda: None}, "state at x is a function"),
    ],
)
def test_unsupported_value_is_rejected_with_its_path(tree: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        list(flatten(tree))
