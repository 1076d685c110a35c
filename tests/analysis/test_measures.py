"""Measures of a run, with values computed by hand."""

import math

import pytest

from orchestrator.analysis.measures import cost_to_reach, final_value, mean_of_last, total, value_at_cap
from orchestrator.tracking.record import RoundRecord

UP, TIME, ACC = "comm/upload_bytes_total", "time/emulated_s_total", "eval/accuracy"

#: evaluations after 200, 300 and 500 bytes: good, then worse, then best
ROUNDS = [
    RoundRecord(0, 0, {UP: 100.0, TIME: 1.0}),
    RoundRecord(1, 0, {UP: 200.0, TIME: 3.0, ACC: 0.6}),
    RoundRecord(2, 0, {UP: 300.0, TIME: 4.0, ACC: 0.4}),
    RoundRecord(3, 0, {UP: 400.0, TIME: 7.0}),
    RoundRecord(4, 0, {UP: 500.0, TIME: 9.0, ACC: 0.8}),
    RoundRecord(5, 0, {UP: 600.0, TIME: 11.0}),
]


def test_final_value_is_the_last_logged_value() -> None:
    assert final_value(ROUNDS, ACC) == 0.8
    assert final_value(ROUNDS[:4], ACC) == 0.4
    assert final_value(ROUNDS[:1], ACC) is None
    assert final_value([], ACC) is None


def test_total_is_the_value_of_the_last_round() -> None:
    assert total(ROUNDS, UP) == 600.0
    assert total(ROUNDS, "compute/train_flops_total") is None
    assert total([], UP) is None


@pytest.mark.parametrize(
    ("cap", "expected"),
    [(199.0, None), (200.0, 0.6), (299.9, 0.6), (300.0, 0.4), (499.0, 0.4), (500.0, 0.8), (1e9, 0.8)],
)
def test_value_at_cap_is_of_the_last_evaluation_within_the_cap(cap: float, expected: float | None) -> None:
    assert value_at_cap(ROUNDS, ACC, UP, cap) == expected


def _curve(*accuracies: float | None) -> list[RoundRecord]:
    """Return one record per accuracy, of 1 s and 100 bytes; None means that the round was not evaluated."""
    return [
        RoundRecord(r, 0, {UP: 100.0 * (r + 1), TIME: r + 1.0, **({} if value is None else {ACC: value})})
        for r, value in enumerate(accuracies)
    ]


@pytest.mark.parametrize(
    ("target", "seconds", "num_bytes"),
    [(0.3, 3.0, 200.0), (0.6, 3.0, 200.0), (0.61, None, None), (0.8, None, None)],
)
def test_target_is_reached_by_the_mean_of_three_evaluations(
    target: float, seconds: float | None, num_bytes: float | None
) -> None:
    """The only mean is (.6 + .4 + .8) / 3 = .6, which starts at the evaluation of .6."""
    assert cost_to_reach(ROUNDS, ACC, TIME, target) == seconds
    assert cost_to_reach(ROUNDS, ACC, UP, target) == num_bytes


@pytest.mark.parametrize(
    ("accuracies", "target", "seconds"),
    [
        # means .5, .3, .5, .6, .8: the single high value .9 reaches no target
        ((0.9, 0.1, 0.5, 0.3, 0.7, 0.8, 0.9), 0.6, 4.0),
        # means .3, .4, .5, .6: a rising curve
        ((0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 0.5, 3.0),
        ((0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 0.3, 1.0),
        ((0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 0.61, None),
        # means .8, .6, .3, .4, .7: reached, lost and reached again
        ((0.8, 0.8, 0.8, 0.2, -0.1, 1.1, 1.1), 0.6, 5.0),
        # means .8, .7, .6: reached and lost
        ((0.8, 0.8, 0.8, 0.5, 0.5), 0.7, None),
        # a mean of .8 in decimals, below it in floating point
        ((0.7, 0.8, 0.9), 0.8, 1.0),
        # rounds that are not evaluated do not count
        ((None, 0.1, None, 0.8, None, 0.8, None, 0.8, None), 0.8, 4.0),
        # the last evaluation is below the target, but its mean is not
        ((0.9, 0.9, 0.9, 0.7), 0.8, 1.0),
        # fewer than three evaluations
        ((0.9, 0.9), 0.5, None),
        ((0.9,), 0.5, None),
        ((), 0.5, None),
    ],
)
def test_target_is_reached_where_the_means_of_three_stay_above(
    accuracies: tuple[float | None, ...], target: float, seconds: float | None
) -> None:
    records = _curve(*accuracies)
    assert cost_to_reach(records, ACC, TIME, target) == seconds
    assert cost_to_reach(records, ACC, UP, target) == (None if seconds is None else 100 * seconds)


def test_non_finite_value_reaches_no_target() -> None:
    assert cost_to_reach(_curve(0.9, math.nan, 0.9, 0.9, 0.9), ACC, TIME, 0.5) == 3.0
    assert cost_to_reach(_curve(0.9, 0.9, 0.9, math.inf), ACC, TIME, 0.5) is None
    assert cost_to_reach(_curve(0.9, 0.9, 0.9, math.nan), ACC, TIME, 0.5) is None


def test_non_finite_value_is_not_replaced_by_an_earlier_value() -> None:
    diverged = [*ROUNDS, RoundRecord(6, 0, {UP: 700.0, TIME: math.inf, ACC: math.nan})]
    assert final_value(diverged, ACC) is None
    assert total(diverged, TIME) is None
    assert value_at_cap(diverged, ACC, UP, 699.0) == 0.8
    assert value_at_cap(diverged, ACC, UP, 700.0) is None
    assert cost_to_reach(diverged, ACC, TIME, 0.9) is None
    timeless = [RoundRecord(r, 0, {ACC: 0.9, TIME: math.nan, UP: 100.0}) for r in range(3)]
    assert cost_to_reach(timeless, ACC, TIME, 0.5) is None
    assert cost_to_reach(timeless, ACC, UP, 0.5) == 100.0


def test_mean_of_last_values_is_limited_by_their_number_and_by_a_cap() -> None:
    assert mean_of_last(ROUNDS, ACC, 2) == pytest.approx(0.6)
    assert mean_of_last(ROUNDS, ACC, 5) == pytest.approx(0.6)
    assert mean_of_last(ROUNDS, ACC, 5, cost=UP, cap=300.0) == pytest.approx(0.5)
    assert mean_of_last(ROUNDS, ACC, 5, cost=UP, cap=199.0) is None
    assert mean_of_last([], ACC, 5) is None
    diverged = [*ROUNDS, RoundRecord(6, 0, {UP: 700.0, ACC: math.nan})]
    assert mean_of_last(diverged, ACC, 2) is None
