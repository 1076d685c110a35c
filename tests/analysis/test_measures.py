"""What is read off a run's rounds, by hand."""

import math

import pytest

from orchestrator.analysis.measures import cost_to_reach, final_value, total, value_at_cap
from orchestrator.tracking.record import RoundRecord

UP, TIME, ACC = "comm/upload_bytes_total", "time/emulated_s_total", "eval/accuracy"

#: evaluated after 200, 300 and 500 bytes; better, then worse, then best
ROUNDS = [
    RoundRecord(0, 0, {UP: 100.0, TIME: 1.0}),
    RoundRecord(1, 0, {UP: 200.0, TIME: 3.0, ACC: 0.6}),
    RoundRecord(2, 0, {UP: 300.0, TIME: 4.0, ACC: 0.4}),
    RoundRecord(3, 0, {UP: 400.0, TIME: 7.0}),
    RoundRecord(4, 0, {UP: 500.0, TIME: 9.0, ACC: 0.8}),
    RoundRecord(5, 0, {UP: 600.0, TIME: 11.0}),
]


def test_the_final_value_is_the_last_one_logged() -> None:
    assert final_value(ROUNDS, ACC) == 0.8
    assert final_value(ROUNDS[:4], ACC) == 0.4
    assert final_value(ROUNDS[:1], ACC) is None
    assert final_value([], ACC) is None


def test_totals_are_the_last_rounds() -> None:
    assert total(ROUNDS, UP) == 600.0
    assert total(ROUNDS, "compute/train_flops_total") is None
    assert total([], UP) is None


@pytest.mark.parametrize(
    ("cap", "expected"),
    [(199.0, None), (200.0, 0.6), (299.9, 0.6), (300.0, 0.4), (499.0, 0.4), (500.0, 0.8), (1e9, 0.8)],
)
def test_at_a_cap_the_last_evaluation_within_it_counts(cap: float, expected: float | None) -> None:
    assert value_at_cap(ROUNDS, ACC, UP, cap) == expected


@pytest.mark.parametrize(
    ("target", "seconds", "num_bytes"),
    [(0.3, 3.0, 200.0), (0.6, 3.0, 200.0), (0.61, 9.0, 500.0), (0.8, 9.0, 500.0), (0.81, None, None)],
)
def test_a_target_is_reached_at_the_first_evaluation_that_has_it(
    target: float, seconds: float | None, num_bytes: float | None
) -> None:
    assert cost_to_reach(ROUNDS, ACC, TIME, target) == seconds
    assert cost_to_reach(ROUNDS, ACC, UP, target) == num_bytes


def test_what_is_not_finite_is_no_result_and_nothing_earlier_stands_for_it() -> None:
    diverged = [*ROUNDS, RoundRecord(6, 0, {UP: 700.0, TIME: math.inf, ACC: math.nan})]
    assert final_value(diverged, ACC) is None
    assert total(diverged, TIME) is None
    assert value_at_cap(diverged, ACC, UP, 699.0) == 0.8
    assert value_at_cap(diverged, ACC, UP, 700.0) is None
    assert cost_to_reach(diverged, ACC, TIME, 0.9) is None
    assert cost_to_reach([RoundRecord(0, 0, {ACC: 0.9, TIME: math.nan})], ACC, TIME, 0.5) is None
