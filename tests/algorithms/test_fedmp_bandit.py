"""FedMP's bandit: its index, splits and rewards."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch

from algorithms._fedmp_bandit import KeepRatioBandit, choose, credit, indices, new_bandit


def bandit(edges: list[float], ratios: list[float], rewards: list[float]) -> KeepRatioBandit:
    as_tensor = [torch.tensor(x, dtype=torch.float64) for x in (edges, ratios, rewards)]
    return KeepRatioBandit(edges=as_tensor[0], ratios=as_tensor[1], rewards=as_tensor[2])


def test_index_is_the_discounted_mean_and_its_bonus() -> None:
    """The plays weigh 1/4, 1/2 and 1, so that n = 1.75, and the arms have N = .25 and 1.5.

    Means: 1 and (.5 * 2 + 3) / 1.5 = 8 / 3. Bonuses: sqrt(2 ln 1.75 / .25) and sqrt(2 ln 1.75 / 1.5).
    """
    played = bandit([0.2, 0.5, 1.0], [0.3, 0.7, 0.9], [1.0, 2.0, 3.0])
    assert indices(played, 0.5) == pytest.approx([3.1158772, 3.5304687])


def test_play_on_an_edge_belongs_to_the_right_arm() -> None:
    assert indices(bandit([0.2, 0.5, 1.0], [0.5], [1.0]), 1.0) == [inf, 1.0]


def test_arm_without_plays_comes_first() -> None:
    chosen = choose(bandit([0.2, 0.5, 0.8, 1.0], [0.3, 0.9], [9.0, 9.0]), 1.0, 1.0, np.random.default_rng(0))
    assert 0.5 <= chosen.pending < 0.8
    assert chosen.edges.tolist() == [0.2, 0.5, 0.8, 1.0]


def test_choice_splits_a_wide_arm_at_its_ratio() -> None:
    chosen = choose(new_bandit(0.2), 0.9, 0.05, np.random.default_rng(1))
    assert chosen.edges.tolist() == [0.2, chosen.pending, 1.0]
    assert 0.2 < chosen.pending < 1.0


def test_arms_partition_the_range_after_any_number_of_plays() -> None:
    rng, state = np.random.default_rng(2), new_bandit(0.1)
    for play in range(40):
        state = credit(choose(state, 0.95, 0.05, rng), float(rng.normal()))
        assert (float(state.edges[0]), float(state.edges[-1])) == (0.1, 1.0)
        assert bool((state.edges.diff() > 0).all())
        assert (len(state.ratios), len(state.rewards)) == (play + 1, play + 1)


def test_reward_goes_to_the_pending_play() -> None:
    played = replace(bandit([0.2, 1.0], [0.4], [1.0]), pending=0.6)
    after = credit(played, -2.0)
    assert after.ratios.tolist() == [0.4, 0.6]
    assert after.rewards.tolist() == [1.0, -2.0]
    assert after.pending == 0.0
    assert credit(after, 5.0) is after


def test_one_ratio_is_always_kept() -> None:
    chosen = choose(new_bandit(1.0), 0.9, 0.05, np.random.default_rng(0))
    assert (chosen.pending, chosen.edges.tolist()) == (1.0, [1.0, 1.0])
