"""Oort: exploration, the pacer, scores by hand, and cohorts."""

from math import log, sqrt

import numpy as np
import pytest

from orchestrator.fleet.client_history import ClientHistory
from orchestrator.fleet.oort import exploration, oort_cohort, preferred_percentile, scores


def history_of(utility: list[float], seconds: list[float], last: list[int]) -> ClientHistory:
    history = ClientHistory(len(utility))
    for k, (u, t, r) in enumerate(zip(utility, seconds, last, strict=True)):
        if r >= 0:
            history.record(k, r, num_samples=1, mean_loss=u, seconds=t)
    return history


def test_exploration_decays_to_a_fifth() -> None:
    assert [exploration(r) for r in (0, 1, 2, 100)] == pytest.approx([0.9, 0.855, 0.81225, 0.2])


def test_pacer_allows_slower_clients_when_the_utility_is_flat() -> None:
    flat = dict.fromkeys(range(100), 1.0)
    assert [preferred_percentile(flat, r) for r in (0, 39, 40, 59, 60, 100)] == [10, 10, 15, 15, 20, 30]
    falling = {r: 2.0 ** -(r // 20) for r in range(100)}
    assert preferred_percentile(falling, 60) == 10
    jump = {r: 1.0 if r < 20 else 7.0 for r in range(100)}
    assert [preferred_percentile(jump, r) for r in (40, 60)] == [5, 10]


def test_score_by_hand() -> None:
    """Utilities 0 and 10 with a clip at 9.8, in round 3 (r = 4), last seen in rounds 0 and 2, at equal speed.

    0 + sqrt(.1 ln 4 / 1) and 1 + sqrt(.1 ln 4 / 3).
    """
    found = scores(history_of([0.0, 10.0], [1.0, 1.0], [0, 2]), np.array([0, 1]), 3)
    assert found.tolist() == pytest.approx([sqrt(0.1 * log(4)), 1 + sqrt(0.1 * log(4) / 3)])


def test_slow_clients_are_penalised_by_the_square() -> None:
    """The 10th percentile of 1 and 2 seconds is 1.1: the slow client's score is multiplied by (1.1 / 2)^2."""
    fast = scores(history_of([5.0, 5.0], [1.0, 1.0], [0, 0]), np.array([0, 1]), 1)
    slow = scores(history_of([5.0, 5.0], [1.0, 2.0], [0, 0]), np.array([0, 1]), 1)
    assert slow[0] == pytest.approx(fast[0])
    assert slow[1] == pytest.approx(fast[1] * 0.55**2)


def test_cohort_mixes_known_and_new_clients() -> None:
    """Round 50: a fifth of 5 clients is new. Without known clients, all are new."""
    history = history_of([1.0] * 6 + [0.0] * 6, [1.0] * 12, [49] * 6 + [-1] * 6)
    rng, sizes = np.random.default_rng(0), np.full(12, 10)
    cohort = oort_cohort(history, range(12), sizes, 5, 50, rng)
    assert len(set(cohort)) == 5
    assert sum(k >= 6 for k in cohort) == 1
    assert len(oort_cohort(ClientHistory(4), range(4), sizes[:4], 3, 0, rng)) == 3
    assert sorted(oort_cohort(history, [0, 1], sizes, 5, 50, rng)) == [0, 1]


def test_useful_clients_are_preferred() -> None:
    """Clients below .7 of the smallest score of the best two are never sampled."""
    history = history_of([0.1, 0.1, 9.0, 8.0], [1.0] * 4, [49] * 4)
    sizes = np.full(4, 10)
    for seed in range(10):
        cohort = oort_cohort(history, range(4), sizes, 2, 50, np.random.default_rng(seed))
        assert set(cohort) == {2, 3}


def test_equal_clients_are_sampled_nearly_uniformly() -> None:
    history, sizes = history_of([1.0] * 5, [1.0] * 5, [9] * 5), np.full(5, 10)
    rng = np.random.default_rng(0)
    counts = np.zeros(5)
    for _ in range(500):
        counts[list(oort_cohort(history, range(5), sizes, 2, 10, rng))] += 1
    assert counts.min() > 160
    assert counts.max() < 240
