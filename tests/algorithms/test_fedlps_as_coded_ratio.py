"""Each fault of the bandit in FedLPS's public code, by hand."""

from dataclasses import replace
from itertools import pairwise
from math import log, sqrt
from typing import Any

import numpy as np
import pytest
import torch

from algorithms._fedlps_as_coded_ratio import (
    CodedBandit,
    choose_as_coded,
    coded_scores,
    credit_as_coded,
    credited_arm,
    new_coded_bandit,
    utility,
)
from orchestrator.federation.tree import flatten, rebuild

#: phi T = 4 with five arms
ROUNDS, COHORT = 100, 10


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bandit(arms: list[list[float]], rewards: list[list[float]], **state: Any) -> CodedBandit:
    """Rows of arms: low, high, pulls. Rows of rewards: low, number, sum, sum of squares."""
    return CodedBandit(
        arms=torch.tensor(arms, dtype=torch.float64),
        rewards=torch.tensor(rewards, dtype=torch.float64),
        **state,
    )


def after_a_split(**state: Any) -> CodedBandit:
    """[0.5, 0.75] was split at 0.6. Its right half is second by ratio and last by insertion."""
    return bandit(
        [[0.5, 0.6, 1], [0.6, 0.75, 2], [0.75, 1.0, 1]],
        [[0.5, 1, 0, 0], [0.75, 1, 0, 0], [0.6, 1, 0, 0]],
        **state,
    )


def test_arms_cover_the_upper_half_with_a_reward_of_zero_each() -> None:
    start = new_coded_bandit()
    assert start.arms[:, 0].tolist() == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert start.arms[:, 1].tolist() == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])
    assert start.arms[:, 2].tolist() == [1.0] * 5
    assert torch.equal(start.rewards[:, 0], start.arms[:, 0])
    assert start.rewards[:, 1:].tolist() == [[1.0, 0.0, 0.0]] * 5


def test_split_keeps_arms_in_order_and_appends_the_rewards() -> None:
    start = new_coded_bandit()
    start = replace(start, rewards=start.rewards + torch.tensor([0.0, 1.0, 2.0, 4.0]))
    after, ratio = choose_as_coded(start, ROUNDS, COHORT, rng(), 1.0)
    assert after.rewards[-1].tolist() == [ratio, 2.0, 2.0, 4.0]
    assert torch.equal(after.rewards[:-1], start.rewards)
    assert bool((after.arms[1:, 0] == after.arms[:-1, 1]).all())
    at = int((after.arms[:, 0] == ratio).nonzero())
    assert after.arms[[at - 1, at], 2].tolist() == [1.0, 2.0]
    assert (len(after.arms), after.num_plays, after.last_ratio) == (6, 1, ratio)


def test_bandit_has_no_effect_for_capabilities_up_to_one_half() -> None:
    for capability in (0.5, 0.25, 0.125, 0.0625):
        ratios = {
            choose_as_coded(new_coded_bandit(), ROUNDS, COHORT, rng(s), capability)[1] for s in range(20)
        }
        assert ratios == {capability}
    after, ratio = choose_as_coded(new_coded_bandit(), ROUNDS, COHORT, rng(), 0.25)
    assert (ratio, after.last_ratio, len(after.arms)) == (0.25, 0.25, 6)


@pytest.mark.parametrize(
    ("num_plays", "num_arms", "logarithm"),
    # phi T eps = 10^2 / A^2 / 2^m: 4, 1.389, 0.51
    [(0, 5, log(4)), (1, 6, log(100 / 72)), (2, 7, 0.0)],
)
def test_bonus_is_zero_after_two_plays(num_plays: int, num_arms: int, logarithm: float) -> None:
    edges = np.linspace(0.5, 1.0, num_arms + 1)
    arms = [[low, high, 1.0] for low, high in pairwise(edges.tolist())]
    state = bandit(arms, [[low, 1.0, 0.0, 0.0] for low, *_ in arms], num_plays=num_plays)
    bonus = sqrt(0.5 * 2 * logarithm / 4)
    assert coded_scores(state, ROUNDS, COHORT).tolist() == pytest.approx([bonus] * num_arms)


def test_scores_use_rewards_in_order_of_insertion() -> None:
    """The last rewards inserted belong to [0.6, 0.75], but they score [0.75, 1], which is played instead."""
    state = after_a_split(num_plays=10**9)
    state.rewards[2] = torch.tensor([0.6, 1.0, 5.0, 25.0])
    assert coded_scores(state, ROUNDS, COHORT).tolist() == [0.0, 0.0, 5.0]
    _, ratio = choose_as_coded(state, ROUNDS, COHORT, rng(), 1.0)
    assert 0.75 <= ratio <= 1.0


def test_scores_use_pulls_in_order_of_ratio() -> None:
    """phi T = 10^2 / 3^2. The second arm has two pulls, although its rewards are those of [0.75, 1]."""
    single = sqrt(log(100 / 9) / 4)
    expected = [single, single / sqrt(2), single]
    assert coded_scores(after_a_split(), ROUNDS, COHORT).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ratio", "row"),
    [
        (0.5, 0),
        (0.59, 0),
        (0.6, 1),
        (0.74, 1),
        # the scan finds no arm for a ratio at or above every lower bound
        (0.75, 0),
        (1.0, 0),
        # for a ratio below all bounds the scan returns the last arm
        (0.49, -1),
        (0.0625, -1),
    ],
)
def test_reward_goes_to_the_arm_that_contains_the_ratio(ratio: float, row: int) -> None:
    assert credited_arm(after_a_split().arms[:, 0], ratio) == row


@pytest.mark.parametrize(
    ("ratio", "low"),
    # by ratio, then the last arm and the first arm; the rewards are found by the lower bound
    [(0.65, 0.6), (0.25, 0.75), (0.9, 0.5)],
)
def test_reward_is_stored_under_the_lower_bound_of_the_credited_arm(ratio: float, low: float) -> None:
    start = after_a_split(last_ratio=ratio, best_accuracy=0.2, last_accuracy=0.1)
    after = credit_as_coded(start, 0.6, 2.0)
    reward = (utility(0.6) - utility(0.2)) / 2.0
    changed = (after.rewards != start.rewards).any(1)
    assert after.rewards[changed].flatten().tolist() == pytest.approx([low, 2.0, reward, reward**2])
    assert torch.equal(after.arms, start.arms)
    assert (after.best_accuracy, after.last_accuracy) == (0.6, 0.6)


def test_accuracies_as_fractions_give_small_rewards_and_delete_no_arm() -> None:
    assert utility(1.0) == pytest.approx(1.73, abs=0.005)
    start = after_a_split(last_ratio=0.5, best_accuracy=1.0, last_accuracy=1.0)
    after = credit_as_coded(start, 0.0, 1.0)
    assert len(after.arms) == len(after.rewards) == 3
    assert float(after.rewards[0, 2]) == pytest.approx(-1.73, abs=0.005)


@pytest.mark.parametrize(
    ("ratio", "arms", "rewards"),
    [
        # the first arm is deleted, with the rewards of the arm that is first afterwards
        (0.5, [0.6, 0.75], [0.5, 0.75]),
        (0.6, [0.5, 0.75], [0.5, 0.6]),
        # -1: the last arm is deleted, with the rewards of the arm that is last afterwards
        (0.25, [0.5, 0.6], [0.5, 0.75]),
    ],
)
def test_accuracies_in_percent_would_delete_the_wrong_rewards(
    ratio: float, arms: list[float], rewards: list[float]
) -> None:
    after = credit_as_coded(after_a_split(last_ratio=ratio, last_accuracy=50.0), 44.0, 1.0)
    assert after.arms[:, 0].tolist() == arms
    assert after.rewards[:, 0].tolist() == rewards


def test_first_reward_is_the_whole_initial_accuracy() -> None:
    played, _ = choose_as_coded(new_coded_bandit(), ROUNDS, COHORT, rng(), 0.5)
    after = credit_as_coded(played, 0.8, 1.0)
    assert float(after.rewards[:, 2].sum()) == pytest.approx(utility(0.8))


def test_state_is_a_plain_tree_that_may_grow() -> None:
    template = state = new_coded_bandit()
    generator = rng()
    for accuracy in (0.2, 0.5, 0.4):
        state, _ = choose_as_coded(state, ROUNDS, COHORT, generator, 1.0)
        state = credit_as_coded(state, accuracy, 1.5)
    assert len(state.arms) == len(state.rewards) == 8
    again = rebuild(template, dict(flatten(state)))
    assert torch.equal(again.arms, state.arms)
    assert torch.equal(again.rewards, state.rewards)
    assert (again.num_plays, again.last_ratio, again.best_accuracy, again.last_accuracy) == (
        3,
        state.last_ratio,
        0.5,
        0.4,
    )


@pytest.mark.parametrize(("accuracy", "value"), [(0, 0.0), (1, 1.73), (5, 7.04), (10, 9.41), (100, 10.0)])
def test_utility_by_hand(accuracy: float, value: float) -> None:
    assert utility(accuracy) == pytest.approx(value, abs=0.005)
