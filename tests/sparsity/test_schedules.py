"""Schedules against values computed by hand."""

from typing import Literal

import pytest

from orchestrator.config.sections import ScheduleConfig, SparsityConfig
from orchestrator.sparsity.schedules import cosine_anneal, schedule_progress


def level_at(schedule: ScheduleConfig, level: float, round_idx: int, num_rounds: int) -> float:
    """The sparsity level, rounded as far as 1 - density differs from it."""
    sparsity = SparsityConfig(level=level, schedule=schedule)
    progress = schedule_progress(schedule, round_idx, num_rounds)
    return round(1.0 - sparsity.density_at(progress, default=1.0), 12)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.2, 0.2, 0.2, 0.2, 0.2]),
        ("linear", [0.2, 0.35, 0.5, 0.65, 0.8]),
        # cosine: 0, (1 - sqrt(1/2)) / 2, 1/2, (1 + sqrt(1/2)) / 2, 1 of the difference
        ("cosine", [0.2, 0.2878679656, 0.5, 0.7121320344, 0.8]),
        # cubic: 0, 1 - 27/64, 1 - 1/8, 1 - 1/64, 1 of the difference
        ("cubic", [0.2, 0.546875, 0.725, 0.790625, 0.8]),
    ],
)
def test_levels_at_quarters_of_the_schedule(
    kind: Literal["constant", "linear", "cosine", "cubic"], expected: list[float]
) -> None:
    schedule = ScheduleConfig(kind=kind, final_level=0.8, end_round=8)
    assert [level_at(schedule, 0.2, r, 100) for r in (0, 2, 4, 6, 8)] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["linear", "cosine", "cubic", "step"])
def test_first_and_last_levels_are_exact(kind: Literal["linear", "cosine", "cubic", "step"]) -> None:
    schedule = ScheduleConfig(kind=kind, final_level=0.9, end_round=7)
    assert level_at(schedule, 0.1, 0, 100) == 0.1
    assert [level_at(schedule, 0.1, r, 100) for r in (7, 8, 99)] == [0.9, 0.9, 0.9]


@pytest.mark.parametrize(
    ("num_steps", "end_round", "expected"),
    [
        # step i of 4 in round ceil(8 i / 4)
        (4, 8, [0.2, 0.2, 0.35, 0.35, 0.5, 0.5, 0.65, 0.65, 0.8, 0.8]),
        # ceil(10 i / 3): rounds 4, 7 and 10
        (3, 10, [0.2, 0.2, 0.2, 0.2, 0.4, 0.4, 0.4, 0.6, 0.6, 0.6, 0.8, 0.8]),
        (1, 3, [0.2, 0.2, 0.2, 0.8, 0.8]),
        # more steps than rounds: two of six in each round
        (6, 3, [0.2, 0.4, 0.6, 0.8, 0.8]),
    ],
)
def test_steps_are_equal_and_the_last_step_is_at_the_end(
    num_steps: int, end_round: int, expected: list[float]
) -> None:
    schedule = ScheduleConfig(kind="step", final_level=0.8, end_round=end_round, num_steps=num_steps)
    levels = [level_at(schedule, 0.2, r, 100) for r in range(len(expected))]
    assert levels == pytest.approx(expected, abs=1e-12)
    assert levels[0] == 0.2
    assert levels[-1] == 0.8


def test_default_is_four_steps() -> None:
    """The schedule ends at round 10 of 20, with steps of 0.2 in rounds ceil(2.5) = 3, 5, ceil(7.5) = 8 and 10."""
    schedule = ScheduleConfig(kind="step", final_level=0.8)
    levels = [level_at(schedule, 0.0, r, 20) for r in range(20)]
    changes = [r for r in range(1, 20) if levels[r] != levels[r - 1]]
    assert changes == [3, 5, 8, 10]
    assert [levels[r] for r in changes] == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_schedule_ends_at_half_the_rounds_by_default() -> None:
    schedule = ScheduleConfig(kind="linear", final_level=0.5)
    assert level_at(schedule, 0.0, 9, 21) == pytest.approx(0.45)
    assert level_at(schedule, 0.0, 10, 21) == 0.5
    assert level_at(schedule, 0.0, 0, 1) == 0.5


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "cubic", "step"])
def test_level_is_constant_without_a_final_level(
    kind: Literal["constant", "linear", "cosine", "cubic", "step"],
) -> None:
    schedule = ScheduleConfig(kind=kind)
    assert {level_at(schedule, 0.7, r, 10) for r in range(10)} == {0.7}


def test_level_may_decrease_in_steps() -> None:
    schedule = ScheduleConfig(kind="step", final_level=0.0, end_round=4, num_steps=2)
    assert [level_at(schedule, 0.8, r, 10) for r in range(5)] == [0.8, 0.8, 0.4, 0.4, 0.0]


def test_level_may_decrease() -> None:
    schedule = ScheduleConfig(kind="linear", final_level=0.0, end_round=4)
    assert level_at(schedule, 0.8, 3, 10) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("round_idx", "share"),
    [(0, 0.01), (1, 0.0099994), (16, 0.0098429), (100, 0.005), (200, 0.0), (399, 0.0)],
)
def test_cosine_anneal_gives_feddsts_shares(round_idx: int, share: float) -> None:
    assert cosine_anneal(0.01, round_idx, 200) == pytest.approx(share, abs=5e-8)


def test_cosine_anneal_ends_at_exactly_zero() -> None:
    assert cosine_anneal(0.3, 5, 5) == 0.0
    assert cosine_anneal(0.3, 0, 0) == 0.0
