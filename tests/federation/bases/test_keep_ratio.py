"""Keep ratios: P-UCBV's index and reward by hand, its partition of the shares by invariants."""

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
)
from orchestrator.federation.tree import flatten, rebuild


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bandit(*arms: tuple[float, ...], **state: Any) -> Bandit:
    """Rows: low, high, number of rewards, sum, sum of squares, pulls."""
    return Bandit(arms=torch.tensor(arms, dtype=torch.float64), **state)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_new_bandit_has_equal_cells() -> None:
    fresh = new_bandit(0.5)
    assert torch.allclose(fresh.arms[:, LOW], f64(0.5, 0.6, 0.7, 0.8, 0.9))
    assert torch.allclose(fresh.arms[:, HIGH], f64(0.6, 0.7, 0.8, 0.9, 1.0))
    assert fresh.arms[:, 2:].tolist() == [[0.0, 0.0, 0.0, 1.0]] * 5
    assert len(new_bandit(1.0).arms) == 1


@pytest.mark.parametrize(("low", "num_arms"), [(0.0, 5), (1.1, 5), (0.5, 0), (float("nan"), 5)])
def test_new_bandit_rejects_invalid_ranges(low: float, num_arms: int) -> None:
    with pytest.raises(ValueError, match=f"{num_arms} arms"):
        new_bandit(low, num_arms)


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
    assert scores(new_bandit(0.5), 10.0).tolist() == pytest.approx([sqrt(log(4) / 4)] * 5)


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
        ratios = np.array([choose(start, 10.0, generator)[1] for _ in range(3000)])
        assert np.all(np.abs(np.histogram(ratios, [0.1, 0.4, 0.7, 1.0])[0] - 1000) < 130)


def test_later_plays_explore_with_probability_one_over_m() -> None:
    """After four plays 1/4 of the plays explore, half of them on the worse arm: 375 of 3,000, deviation 18.1."""
    start = bandit((0.2, 0.6, 1, 0, 0, 1), (0.6, 1.0, 1, 5, 25, 1), num_plays=4)
    generator = rng()
    worse = sum(choose(start, 10.0, generator)[1] < 0.6 for _ in range(3000))
    assert abs(worse - 375) < 91


def test_play_splits_the_cell_and_pulls_the_right_half() -> None:
    start = bandit((0.2, 0.6, 2, 4, 10, 3))
    after, ratio = choose(start, 10.0, rng())
    assert 0.2 < ratio < 0.6
    assert after.arms.tolist() == [[0.2, ratio, 2, 4, 10, 3], [ratio, 0.6, 2, 4, 10, 4]]
    assert (after.played, after.num_plays) == (1, 1)
    assert start.arms.tolist() == [[0.2, 0.6, 2, 4, 10, 3]]


def test_shares_are_uniform_in_the_cell() -> None:
    """1,000 shares in [0.2, 0.6]: mean 0.4, standard error 0.0037; within five standard errors."""
    generator = rng()
    ratios = [choose(bandit((0.2, 0.6, 0, 0, 0, 1)), 10.0, generator)[1] for _ in range(1000)]
    assert np.mean(ratios) == pytest.approx(0.4, abs=0.018)
    assert min(ratios) < 0.21
    assert max(ratios) > 0.59


def test_played_arm_gets_the_accuracy_less_the_cost() -> None:
    start = bandit(
        (0.2, 0.4, 0, 0, 0, 1),
        (0.4, 0.6, 1, 2, 4, 2),
        (0.6, 1.0, 0, 0, 0, 1),
        num_plays=1,
        played=1,
        last_accuracy=0.3,
    )
    after = credit(start, 0.75, 0.5)
    assert after.arms[1].tolist() == [0.4, 0.6, 2, 2.25, 4.0625, 2]
    assert torch.equal(after.arms[[0, 2]], start.arms[[0, 2]])
    assert (after.played, after.last_accuracy) == (-1, 0.75)
    assert start.arms[1].tolist() == [0.4, 0.6, 1, 2, 4, 2]


def test_arm_without_a_reward_counts_with_the_mean_of_all_rewards() -> None:
    """Rewards 1, 3 and 8: means 2 and 8, and 4 for the third arm; there is no bonus after many plays."""
    start = bandit((0.2, 0.4, 2, 4, 10, 1), (0.4, 0.6, 1, 8, 64, 1), (0.6, 1.0, 0, 0, 0, 1), num_plays=50)
    assert scores(start, 10.0).tolist() == [2.0, 8.0, 4.0]


@pytest.mark.parametrize(("accuracy", "num_arms"), [(0.46, 3), (0.44, 2), (0.8, 3)])
def test_drop_of_more_than_five_points_deletes_the_arm_and_leaves_a_gap(
    accuracy: float, num_arms: int
) -> None:
    start = bandit(
        (0.2, 0.4, 0, 0, 0, 1),
        (0.4, 0.6, 0, 0, 0, 1),
        (0.6, 1.0, 0, 0, 0, 1),
        played=1,
        last_accuracy=0.5,
    )
    after = credit(start, accuracy, 0.1)
    assert len(after.arms) == num_arms
    if num_arms == 2:
        assert torch.equal(after.arms, start.arms[[0, 2]])
        generator = rng()
        ratios = [choose(after, 10.0, generator)[1] for _ in range(200)]
        assert not any(0.4 <= r < 0.6 for r in ratios)


def test_only_arm_is_kept_after_a_drop() -> None:
    start = bandit((0.2, 1.0, 0, 0, 0, 1), played=0, last_accuracy=0.6)
    after = credit(start, 0.25, 0.5)
    assert after.arms.tolist() == [[0.2, 1.0, 1, -0.25, 0.0625, 1]]


def test_credit_rejects_a_second_reward() -> None:
    played, _ = choose(new_bandit(0.5), 10.0, rng())
    with pytest.raises(ValueError, match="choose first"):
        credit(credit(played, 0.5, 0.1), 0.5, 0.1)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, float("nan")])
def test_credit_rejects_accuracies_that_are_no_fraction(accuracy: float) -> None:
    played, _ = choose(new_bandit(0.5), 10.0, rng())
    with pytest.raises(ValueError, match=f"accuracy {accuracy}"):
        credit(played, accuracy, 0.1)


@pytest.mark.parametrize("cost", [-1.0, float("nan"), float("inf")])
def test_credit_rejects_costs_that_are_negative_or_not_finite(cost: float) -> None:
    played, _ = choose(new_bandit(0.5), 10.0, rng())
    with pytest.raises(ValueError, match=f"cost {cost}"):
        credit(played, 0.5, cost)


def test_choose_rejects_an_invalid_horizon() -> None:
    with pytest.raises(ValueError, match="horizon 0"):
        choose(new_bandit(0.5), 0.0, rng())


def test_play_without_a_reward_may_be_followed_by_another_play() -> None:
    once, _ = choose(new_bandit(0.5), 10.0, rng(0))
    twice, ratio = choose(once, 10.0, rng(1))
    assert float(twice.arms[twice.played, LOW]) == ratio
    assert float(twice.arms[:, 2].sum()) == 0.0


def test_range_of_one_share_gives_that_share() -> None:
    state = new_bandit(1.0)
    for _ in range(3):
        state, share = choose(state, 10.0, rng())
        assert share == 1.0
        state = credit(state, 0.5, 0.1)
    assert len(state.arms) == 1


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    accuracies=st.lists(st.floats(0, 1), min_size=1, max_size=25),
    num_arms=st.integers(1, 6),
)
def test_cells_partition_the_range_without_deleted_cells(
    seed: int, accuracies: list[float], num_arms: int
) -> None:
    state, generator = new_bandit(0.25, num_arms), rng(seed)
    covered, num_deleted = 0.75, 0
    for accuracy in accuracies:
        pulls = float(state.arms[:, PULLS].sum())
        state, ratio = choose(state, 30.0, generator)
        assert 0.25 <= ratio <= 1.0
        low, high, *_, inherited = state.arms[state.played].tolist()
        assert low == ratio
        # both halves inherit the pulls of the cell, and the right half gets one more
        assert float(state.arms[:, PULLS].sum()) == pulls + inherited
        before = len(state.arms)
        state = credit(state, accuracy, 0.2)
        if len(state.arms) < before:
            covered, num_deleted = covered - (high - low), num_deleted + 1
        lows, highs = state.arms[:, LOW], state.arms[:, HIGH]
        assert bool((lows < highs).all())
        assert bool((highs[:-1] <= lows[1:]).all())
        assert float((highs - lows).sum()) == pytest.approx(covered)
    assert len(state.arms) == num_arms + len(accuracies) - num_deleted >= 1


def test_bandit_with_more_arms_survives_flattening_and_pickling() -> None:
    state, generator = new_bandit(0.5), rng()
    template = state
    for accuracy in (0.2, 0.3, 0.1):
        state = credit(choose(state, 10.0, generator)[0], accuracy, 0.1)
    state, _ = choose(state, 10.0, generator)
    rebuilt = rebuild(template, dict(flatten(state)))
    copy = pickle.loads(pickle.dumps(state))  # noqa: S301
    for other in (rebuilt, copy):
        assert torch.equal(other.arms, state.arms)
        assert [v for k, v in flatten(other) if k != "arms"] == [v for k, v in flatten(state) if k != "arms"]


def test_equal_generators_give_equal_plays() -> None:
    plays = [choose(new_bandit(0.5), 10.0, rng(seed))[1] for seed in (3, 3, 4)]
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
    bandit = new_bandit(0.5)
    check_bandit(bandit)
    bandit.arms[row, column] = value
    with pytest.raises(ValueError, match="no cells"):
        check_bandit(bandit)


def test_bandit_without_arms_is_rejected() -> None:
    with pytest.raises(ValueError, match="no cells"):
        check_bandit(Bandit(arms=torch.zeros(0, 6, dtype=torch.float64)))
