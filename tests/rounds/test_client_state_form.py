"""The form of a client state: paths, types, dtypes, shapes, finite numbers and bytes; errors name the path."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.federation.tree import flatten, rebuild
from orchestrator.rounds.client_state_form import size_bytes, state_problem


@dataclass(frozen=True, kw_only=True, eq=False)
class Inner:
    moment: Tensor
    steps: int = 3
    note: str | None = None
    rows: Tensor = field(default_factory=lambda: torch.zeros(2, 3), metadata={"grows": True})


@dataclass(frozen=True, kw_only=True, eq=False)
class Outer:
    params: Tensor
    inner: Inner
    rates: tuple[float, ...] = (0.1, 0.2)
    arms: Mapping[str, Any] = field(default_factory=dict)
    flag: bool = True
    best: float = float("-inf")


MOMENT = torch.tensor([2.5], dtype=torch.float64)
ARM = {"pulls": 4, "rewards": (1.0, 2.0)}
STATE = Outer(params=torch.zeros(3), inner=Inner(moment=MOMENT), arms={"a": ARM})


def problem(template: object, state: object, max_further_bytes: int = 10_000) -> str | None:
    return state_problem(template, state, max_further_bytes=max_further_bytes)


def with_inner(**changes: Any) -> Outer:
    return replace(STATE, inner=replace(STATE.inner, **changes))


@pytest.mark.parametrize(
    ("template", "state"),
    [
        (None, None),
        ((None,), (3,)),
        ((None,), (torch.zeros(2),)),
        (STATE, STATE),
        (STATE, replace(STATE, best=0.5, rates=(1, 2))),
        (STATE, replace(STATE, params=torch.zeros(6)[::2])),
        (STATE, replace(STATE, arms={"a": ARM, "b": ARM})),
        (STATE, with_inner(note="seen", rows=torch.zeros(7, 3))),
        ({}, {"a": 1, "b": torch.zeros(2), "c": None}),
    ],
)
def test_state_of_the_method_is_stored_and_restored(template: Any, state: Any) -> None:
    assert problem(template, state) is None
    restored = rebuild(template, dict(flatten(state)))
    assert [path for path, _ in flatten(restored)] == [path for path, _ in flatten(state)]
    assert problem(template, restored) is None


@pytest.mark.parametrize(
    ("template", "state", "path"),
    [
        (None, {"a": 1}, "the root"),
        (None, torch.zeros(3), "the root"),
        (None, STATE.inner, "the root"),
        (STATE, None, "the root"),
        (STATE, torch.zeros(3), "the root"),
        (STATE, STATE.inner, "the root"),
        (STATE, {"params": torch.zeros(3)}, "the root"),
        (STATE, replace(STATE, inner=7), "inner"),
        (STATE, replace(STATE, inner=None), "inner"),
        (STATE, replace(STATE, params=None), "params"),
        (STATE, replace(STATE, params=torch.zeros(4)), "params"),
        (STATE, replace(STATE, params=torch.zeros(3, 1)), "params"),
        (STATE, replace(STATE, params=torch.zeros(3, dtype=torch.float64)), "params"),
        (STATE, replace(STATE, params=torch.zeros(3).to_sparse()), "params"),
        (STATE, replace(STATE, params=torch.zeros(3, device="meta")), "params"),
        (STATE, replace(STATE, params=torch.tensor([0.0, float("nan"), 0.0])), "params"),
        (STATE, with_inner(rows=torch.zeros(7, 4)), "inner/rows"),
        (STATE, with_inner(rows=torch.zeros(())), "inner/rows"),
        (STATE, with_inner(moment=1.0), "inner/moment"),
        (STATE, with_inner(steps=True), "inner/steps"),
        (STATE, with_inner(steps=1.0), "inner/steps"),
        (STATE, with_inner(steps=torch.zeros(())), "inner/steps"),
        (STATE, with_inner(steps=10**4400), "inner/steps"),
        (STATE, with_inner(note=float("nan")), "inner/note"),
        (STATE, replace(STATE, rates=(0.1, float("inf"))), "rates/1"),
        (STATE, replace(STATE, rates=(0.1, 0.2, 0.3)), "rates"),
        (STATE, replace(STATE, rates=[0.1, 0.2]), "rates"),
        (STATE, replace(STATE, flag=1), "flag"),
        (STATE, replace(STATE, flag="yes"), "flag"),
        (STATE, replace(STATE, arms={}), "arms"),
        (STATE, replace(STATE, arms={"a": ARM, "b": {}}), "arms/b"),
        (STATE, replace(STATE, arms={"a": ARM, "b": [1]}), "arms/b"),
        (STATE, replace(STATE, arms={"a": ARM, "b": {**ARM, "rewards": (1.0,)}}), "arms/b/rewards"),
        (STATE, replace(STATE, arms={"a": ARM, "c/d": ARM}), "arms"),
        (STATE, replace(STATE, arms={"a": ARM, 1: ARM}), "arms"),
        (STATE, replace(STATE, arms={"a": ARM, "\ud800": ARM}), "arms"),
        ({}, {"a": {"b": 1}}, "a"),
        ((None,), (torch.zeros(3, dtype=torch.complex128),), "0"),
    ],
)
def test_any_other_state_is_reported_by_its_path(template: Any, state: Any, path: str) -> None:
    found = problem(template, state)
    assert found is not None
    assert path in found


@pytest.mark.parametrize(
    ("template", "state"),
    [
        (STATE, with_inner(rows=torch.zeros(1000, 3))),
        ((None,), ("x" * 5000,)),
        ({}, {str(i): i for i in range(1000)}),
    ],
)
def test_bytes_beyond_those_of_the_template_are_limited(template: Any, state: Any) -> None:
    further = size_bytes(state) - size_bytes(template)
    assert problem(template, state, further) is None
    assert problem(template, state, further - 1) is not None


def test_repeated_values_count_although_they_share_memory() -> None:
    state = torch.zeros(1).expand(10_000)
    assert problem((None,), (state,)) is not None


def test_size_is_checked_before_the_values_are_read() -> None:
    """A check of 10^17 values would need 100 PB."""
    rows = torch.zeros(1, 3).expand(10**17, 3)
    assert "bytes" in (problem(STATE, with_inner(rows=rows)) or "")
