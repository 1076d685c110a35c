"""Keep ratios: P-UCBV's index and utility by hand, its partition of the ratios by invariants."""

import pickle
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.federation.bases.keep_ratio import (
    HIGH,
    LOW,
    PULLS,
    Bandit,
    check_bandit,
    choose,
    credit,
    new_bandit,
    policy_ratio,
    scores,
    ucbv_index,
    utility,
)
from orchestrator.federation.tree import flatten, rebuild


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bandit(*arms: tuple[float, ...], **state: Any) -> Bandit:
    """Rows: low, high, number of rewards, sum, sum of squares, pulls."""
    return Bandit(arms=torch.tensor(arms, dtype=torch.float64), **state)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("accuracy", "value"), [(0, 0.0), (1, 1.73), (5, 7.04), (10, 9.41), (100, 10.0)])
def test_utility_by_hand(accuracy: float, value: float) -> None:
    assert utility(accuracy) == pytest.approx(value, abs=0.005)


def test_new_bandit_has_equal_cells() -> None:
    fresh = new_bandit(0.5, 1.0)
    assert torch.allclose(fresh.arms[:, LOW], f64(0.5, 0.6, 0.7, 0.8, 0.9))
    assert torch.allclose(fresh.arms[:, HIGH], f64(0.6, 0.7, 0.8, 0.9, 1.0))
    assert fresh.arms[:, 2:].tolist() == [[0.0, 0.0, 0.0, 1.0]] * 5
    assert len(new_bandit(0.25, 0.25).arms) == 1


@pytest.mark.parametrize(
    ("low", "high", "num_arms"),
    [(0.0, 1.0, 5), (0.5, 0.4, 5), (0.5, 1.1, 5), (0.5, 1.0, 0), (float("nan"), 1.0, 5)],
)
def test_new_bandit_rejects_invalid_ranges(low: float, high: float, num_arms: int) -> None:
    with pytest.raises(ValueError, match="arms over"):
        new_bandit(low, high, num_arms)


@pytest.mark.parametrize(
    ("num_plays", "bonus"),
    # phi = 10 / 2^2, phi T = 25; the root of 0.5 * 2 * ln(25 / 2^m) / 4, dropped from ln(25 / 32) on
    [(0, sqrt(log(25) / 4)), (4, sqrt(log(25 / 16) / 4)), (5, 0.0), (60, 0.0)],
)
def test_bonus_decreases_with_the_plays_to_zero(num_plays: int, bonus: float) -> None:
    index = ucbv_index(f64(0.0, 1.0), f64(0.0, 0.0), f64(1.0, 1.0), 10.0, num_plays)
    assert index.tolist() == pytest.approx([bonus, 1.0 + bonus], rel=1e-12)


def test_bonus_decreases_with_the_pulls_and_increases_with_the_variance() -> None:
    """Twice the pulls and twice (var + 2) give the same bonus."""
    index = ucbv_index(f64(0.0, 0.0, 0.0), f64(0.0, 0.0, 2.0), f64(1.0, 2.0, 2.0), 20.0, 0)
    assert index[1] < index[0]
    assert index[2] == index[0]


def test_bonus_of_five_arms_by_hand() -> None:
    """Five arms and T = 10: phi T = 4 and a bonus of sqrt(ln 4 / 4)."""
    assert scores(new_bandit(0.5, 1.0), 10.0).tolist() == pytest.approx([sqrt(log(4) / 4)] * 5)


def test_scores_compute_mean_and_variance_from_the_sums() -> None:
    """Rewards 1 and 3: mean 2, variance 1; phi T = 4^2 / 1 and a bonus of sqrt(0.5 * 3 * ln 16 / 8)."""
    index = scores(bandit((0.5, 1.0, 2, 4, 10, 2)), 4.0)
    assert index.tolist() == pytest.approx([2 + sqrt(1.5 * log(16) / 8)])


def test_first_two_plays_choose_a_uniform_arm() -> None:
    """3,000 plays over three arms: 1,000 each, standard deviation 25.8; within five deviations."""
    for num_plays in (0, 1):
        start = bandit(
            (0.1, 0.4, 1, 9, 81, 1),
            (0.4, 0.7, 0, 0, 0, 1),
            (0.7, 1.0, 0, 0, 0, 1),
            num_plays=num_plays,
        )
        generator = rng()
        ratios = np.array([choose(start, 10.0, generator, 1.0)[1] for _ in range(3000)])
        assert np.all(np.abs(np.histogram(ratios, [0.1, 0.4, 0.7, 1.0])[0] - 1000) < 130)


def test_later_plays_explore_with_probability_one_over_m() -> None:
    """After four plays 1/4 of the plays explore, half of them on the worse arm: 375 of 3,000, deviation 18.1."""
    start = bandit((0.2, 0.6, 1, 0, 0, 1), (0.6, 1.0, 1, 5, 25, 1), num_plays=4)
    generator = rng()
    worse = sum(choose(start, 10.0, generator, 1.0)[1] < 0.6 for _ in range(3000))
    assert abs(worse - 375) < 91


def test_play_splits_the_cell_and_pulls_the_right_half() -> None:
    start = bandit((0.2, 0.6, 2, 4, 10, 3))
    after, ratio = choose(start, 10.0, rng(), 1.0)
    assert 0.2 < ratio < 0.6
    assert after.arms.tolist() == [[0.2, ratio, 2, 4, 10, 3], [ratio, 0.6, 2, 4, 10, 4]]
    assert (after.played, after.num_plays) == (1, 1)
    assert start.arms.tolist() == [[0.2, 0.6, 2, 4, 10, 3]]


def test_ratios_are_uniform_in_the_cell() -> None:
    """1,000 ratios in [0.2, 0.6]: mean 0.4, standard error 0.0037; within five standard errors."""
    generator = rng()
    ratios = [choose(bandit((0.2, 0.6, 0, 0, 0, 1)), 10.0, generator, 1.0)[1] for _ in range(1000)]
    assert np.mean(ratios) == pytest.approx(0.4, abs=0.018)
    assert min(ratios) < 0.21
    assert max(ratios) > 0.59


def test_played_arm_gets_the_reward() -> None:
    """The reward is (U(10) - U(5)) / 2 for a cost of 2."""
    start = bandit(
        (0.2, 0.4, 0, 0, 0, 1),
        (0.4, 0.6, 1, 2, 4, 2),
        (0.6, 1.0, 0, 0, 0, 1),
        num_plays=1,
        played=1,
        best_accuracy=5.0,
        last_accuracy=3.0,
    )
    reward = (9.414 - 7.0392) / 2
    after = credit(start, 10.0, 2.0)
    assert after.arms[1].tolist() == pytest.approx([0.4, 0.6, 2, 2 + reward, 4 + reward**2, 2], abs=1e-3)
    assert torch.equal(after.arms[[0, 2]], start.arms[[0, 2]])
    assert (after.played, after.best_accuracy, after.last_accuracy) == (-1, 10.0, 10.0)
    assert start.arms[1].tolist() == [0.4, 0.6, 1, 2, 4, 2]


@pytest.mark.parametrize(("accuracy", "sign"), [(40.0, 0.0), (41.0, 1.0), (38.0, -1.0)])
def test_reward_has_the_sign_of_the_gain_over_the_best_accuracy(accuracy: float, sign: float) -> None:
    start = bandit((0.2, 1.0, 0, 0, 0, 1), played=0, best_accuracy=40.0, last_accuracy=38.0)
    after = credit(start, accuracy, 1.0)
    assert np.sign(float(after.arms[0, 3])) == sign
    assert after.best_accuracy == max(40.0, accuracy)
    assert abs(float(credit(start, accuracy, 4.0).arms[0, 3])) == abs(float(after.arms[0, 3])) / 4


@pytest.mark.parametrize(("accuracy", "num_arms"), [(45.0, 3), (44.9, 2), (80.0, 3)])
def test_drop_of_more_than_five_points_deletes_the_arm_and_leaves_a_gap(
    accuracy: float, num_arms: int
) -> None:
    start = bandit(
        (0.2, 0.4, 0, 0, 0, 1),
        (0.4, 0.6, 0, 0, 0, 1),
        (0.6, 1.0, 0, 0, 0, 1),
        played=1,
        best_accuracy=60.0,
        last_accuracy=50.0,
    )
    after = credit(start, accuracy, 1.0)
    assert len(after.arms) == num_arms
    if num_arms == 2:
        assert torch.equal(after.arms, start.arms[[0, 2]])
        generator = rng()
        ratios = [choose(after, 10.0, generator, 1.0)[1] for _ in range(200)]
        assert not any(0.4 <= r < 0.6 for r in ratios)


def test_only_arm_is_kept_and_gets_a_negative_reward() -> None:
    start = bandit((0.2, 1.0, 0, 0, 0, 1), played=0, best_accuracy=5.0, last_accuracy=6.0)
    after = credit(start, 0.0, 1.0)
    assert after.arms[0].tolist() == pytest.approx([0.2, 1.0, 1, -7.0392, 49.55, 1], abs=1e-2)


def test_credit_rejects_a_second_reward() -> None:
    played, _ = choose(new_bandit(0.5, 1.0), 10.0, rng(), 1.0)
    with pytest.raises(ValueError, match="choose first"):
        credit(credit(played, 50.0, 1.0), 50.0, 1.0)


@pytest.mark.parametrize("accuracy", [-0.1, 100.1, float("nan")])
def test_credit_rejects_accuracies_that_are_no_percentage(accuracy: float) -> None:
    played, _ = choose(new_bandit(0.5, 1.0), 10.0, rng(), 1.0)
    with pytest.raises(ValueError, match=f"accuracy {accuracy}"):
        credit(played, accuracy, 1.0)


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_credit_rejects_costs_that_are_not_positive_and_finite(cost: float) -> None:
    played, _ = choose(new_bandit(0.5, 1.0), 10.0, rng(), 1.0)
    with pytest.raises(ValueError, match=f"cost {cost}"):
        credit(played, 50.0, cost)


@pytest.mark.parametrize(("cap", "horizon"), [(0.0, 10.0), (1.1, 10.0), (1.0, 0.0)])
def test_choose_rejects_invalid_cap_and_horizon(cap: float, horizon: float) -> None:
    with pytest.raises(ValueError, match=f"{cap}.*{horizon}"):
        choose(new_bandit(0.5, 1.0), horizon, rng(), cap)


def test_play_without_a_reward_may_be_followed_by_another_play() -> None:
    once, _ = choose(new_bandit(0.5, 1.0), 10.0, rng(0), 1.0)
    twice, ratio = choose(once, 10.0, rng(1), 1.0)
    assert float(twice.arms[twice.played, LOW]) == ratio
    assert float(twice.arms[:, 2].sum()) == 0.0


def test_cells_above_the_cap_are_kept_but_not_played() -> None:
    """The best arm lies above the cap. The arm below the best arm is played up to the cap."""
    start = bandit((0.2, 0.4, 1, 0, 0, 1), (0.4, 0.8, 1, 1, 1, 1), (0.8, 1.0, 1, 9, 81, 1), num_plays=10**6)
    generator = rng()
    for _ in range(100):
        after, ratio = choose(start, 10.0, generator, 0.5)
        assert 0.4 < ratio <= 0.5
        assert after.arms[:, LOW].tolist() == [0.2, 0.4, ratio, 0.8]
    _, ratio = choose(after, 10.0, generator, 1.0)
    assert ratio >= 0.8


@pytest.mark.parametrize("cap", [0.5, 0.3])
def test_cap_below_every_cell_is_the_ratio(cap: float) -> None:
    after, ratio = choose(new_bandit(0.5, 1.0), 10.0, rng(), cap)
    assert ratio == cap
    assert (len(after.arms), after.played, float(after.arms[0, PULLS])) == (5, 0, 2.0)


def test_range_of_one_ratio_gives_that_ratio() -> None:
    state = new_bandit(1 / 16, 1 / 16)
    for _ in range(3):
        state, ratio = choose(state, 10.0, rng(), 1.0)
        assert ratio == 1 / 16
        state = credit(state, 50.0, 1.0)
    assert len(state.arms) == 1


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    accuracies=st.lists(st.floats(0, 100), min_size=1, max_size=25),
    num_arms=st.integers(1, 6),
)
def test_cells_partition_the_range_without_deleted_cells(
    seed: int, accuracies: list[float], num_arms: int
) -> None:
    state, generator = new_bandit(0.25, 1.0, num_arms), rng(seed)
    covered, num_deleted = 0.75, 0
    for accuracy in accuracies:
        pulls = float(state.arms[:, PULLS].sum())
        state, ratio = choose(state, 30.0, generator, 1.0)
        assert 0.25 <= ratio <= 1.0
        low, high, *_, inherited = state.arms[state.played].tolist()
        assert low == ratio
        # both halves inherit the pulls of the cell, and the right half gets one more
        assert float(state.arms[:, PULLS].sum()) == pulls + inherited
        before = len(state.arms)
        state = credit(state, accuracy, 2.0)
        if len(state.arms) < before:
            covered, num_deleted = covered - (high - low), num_deleted + 1
        lows, highs = state.arms[:, LOW], state.arms[:, HIGH]
        assert bool((lows < highs).all())
        assert bool((highs[:-1] <= lows[1:]).all())
        assert float((highs - lows).sum()) == pytest.approx(covered)
    assert len(state.arms) == num_arms + len(accuracies) - num_deleted >= 1


@given(
    seed=st.integers(0, 2**32),
    caps=st.lists(st.floats(0, 1, exclude_min=True), min_size=1, max_size=20),
)
def test_ratio_is_at_most_the_cap(seed: int, caps: list[float]) -> None:
    state, generator = new_bandit(1 / 16, 1.0), rng(seed)
    for cap in caps:
        state, ratio = choose(state, 20.0, generator, cap)
        assert 0.0 < ratio <= cap
        state = credit(state, float(generator.uniform(0, 100)), 1.0)
        assert bool((state.arms[:-1, HIGH] <= state.arms[1:, LOW]).all())


def test_bandit_with_more_arms_survives_flattening_and_pickling() -> None:
    state, generator = new_bandit(0.5, 1.0), rng()
    template = state
    for accuracy in (20.0, 30.0, 10.0):
        state = credit(choose(state, 10.0, generator, 1.0)[0], accuracy, 1.0)
    state, _ = choose(state, 10.0, generator, 1.0)
    rebuilt = rebuild(template, dict(flatten(state)))
    copy = pickle.loads(pickle.dumps(state))  # noqa: S301
    for other in (rebuilt, copy):
        assert torch.equal(other.arms, state.arms)
        assert [v for k, v in flatten(other) if k != "arms"] == [v for k, v in flatten(state) if k != "arms"]


def test_equal_generators_give_equal_plays() -> None:
    plays = [choose(new_bandit(0.5, 1.0), 10.0, rng(seed), 1.0)[1] for seed in (3, 3, 4)]
    assert plays[0] == plays[1] != plays[2]


def test_policy_ratio_by_policy() -> None:
    assert policy_ratio("fixed", 0.5, 0.25) == 0.5
    assert [policy_ratio("capped", 0.5, capability) for capability in (0.25, 0.5, 1.0)] == [0.25, 0.5, 0.5]
    assert policy_ratio("capability", 0.5, 0.25) == 0.25
    assert policy_ratio("capability", 0.5, 1.0) == 1.0
    with pytest.raises(ValueError, match="call choose"):
        policy_ratio("p_ucbv", 0.5, 0.25)
    for ratio in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"not in \(0, 1\]"):
            policy_ratio("fixed", ratio, 1.0)


@pytest.mark.parametrize(
    ("row", "column", "value"), [(0, LOW, 0.0), (1, LOW, 0.95), (4, HIGH, 1.1), (2, HIGH, float("nan"))]
)
def test_arm_that_is_no_cell_is_rejected(row: int, column: int, value: float) -> None:
    """The cells are [0.5, 0.6], ..., [0.9, 1]."""
    bandit = new_bandit(0.5, 1.0)
    check_bandit(bandit)
    bandit.arms[row, column] = value
    with pytest.raises(ValueError, match="no cells"):
        check_bandit(bandit)


def test_bandit_without_arms_is_rejected() -> None:
    with pytest.raises(ValueError, match="no cells"):
        check_bandit(Bandit(arms=torch.zeros(0, 6, dtype=torch.float64)))
