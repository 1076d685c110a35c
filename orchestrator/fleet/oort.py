"""Oort's guided sampling of clients: Lai, Zhu, Madhyastha and Chowdhury, "Oort: Efficient Federated Learning via
Guided Participant Selection", OSDI 2021, arXiv 2010.06081.

A share epsilon of the cohort are clients that never took part, sampled by their samples. The others are sampled by
their score among the clients whose score is at least `_CUT_OFF` times the smallest score of the best ones:

    score = (min(u, u_98) - min u) / (u_98 - min u) + sqrt(0.1 ln(r) / r_last), times (T / t)^2 for a client with t > T

u is the client's utility, u_98 its 98 % quantile over clients, r the round (from 1), r_last the round of the client's
last participation, t its emulated seconds, and T the preferred time: a percentile of all t, which the pacer moves.

Seen: the abstract and a summary of the public code. Deviations: the utility is n times the mean loss of the last task,
where the paper has n times the root of the mean squared loss of the samples. Clients are not blacklisted.
"""

from collections.abc import Mapping, Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from orchestrator.fleet.client_history import ClientHistory

_FIRST_EXPLORATION, _LEAST_EXPLORATION, _EXPLORATION_DECAY = 0.9, 0.2, 0.95
_CLIP, _CUT_OFF, _TIME_PENALTY = 0.98, 0.7, 2.0
_FIRST_PERCENTILE, _PERCENTILE_STEP, _WINDOW = 10, 5, 20
_SMALL_CHANGE, _LARGE_CHANGE = 0.1, 5.0


def exploration(round_idx: int) -> float:
    """Return epsilon of a round."""
    return max(_LEAST_EXPLORATION, _FIRST_EXPLORATION * _EXPLORATION_DECAY**round_idx)


def preferred_percentile(round_utility: Mapping[int, float], round_idx: int) -> int:
    """Return the percentile of the clients' times that Oort prefers.

    The pacer compares the utilities of the last two windows of 20 rounds. It allows slower clients when the sums are
    nearly equal, and fewer slow clients when the sum changed more than fivefold.
    """
    percentile = _FIRST_PERCENTILE
    for end in range(2 * _WINDOW, round_idx + 1, _WINDOW):
        last, now = (
            sum(round_utility.get(r, 0.0) for r in range(end - back * _WINDOW, end - (back - 1) * _WINDOW))
            for back in (2, 1)
        )
        if abs(now - last) <= _SMALL_CHANGE * last:
            percentile = min(100, percentile + _PERCENTILE_STEP)
        elif abs(now - last) >= _LARGE_CHANGE * last:
            percentile = max(_PERCENTILE_STEP, percentile - _PERCENTILE_STEP)
    return percentile


def scores(history: ClientHistory, clients: NDArray[np.int64], round_idx: int) -> NDArray[np.float64]:
    """Return the score of each of these clients, float64[n]; all of them took part before."""
    utility, seconds = history.utility[clients], history.seconds[clients]
    clipped = np.minimum(utility, np.quantile(utility, _CLIP))
    spread = clipped.max() - clipped.min()
    relative = (clipped - clipped.min()) / spread if spread > 0.0 else np.ones_like(clipped)
    age = np.sqrt(0.1 * log(round_idx + 1) / (history.last_round[clients] + 1))
    explored = history.seconds[history.last_round >= 0]
    limit = np.percentile(explored, preferred_percentile(history.round_utility, round_idx))
    slow = np.where(seconds > limit, (limit / np.maximum(seconds, 1e-12)) ** _TIME_PENALTY, 1.0)
    return np.asarray((relative + age) * slow, dtype=np.float64)


def oort_cohort(
    history: ClientHistory,
    clients: Sequence[int],
    num_samples: NDArray[np.int64],
    count: int,
    round_idx: int,
    rng: np.random.Generator,
) -> tuple[int, ...]:
    """Return up to `count` of the eligible `clients`: first clients sampled by score, then new ones.

    `num_samples` int64[K] are the clients' training samples.
    """
    eligible = np.asarray(clients, dtype=np.int64)
    known = eligible[history.last_round[eligible] >= 0]
    new = eligible[history.last_round[eligible] < 0]
    num_new = min(len(new), max(round(exploration(round_idx) * count), count - len(known)))
    num_known = min(len(known), count - num_new)
    chosen: list[int] = []
    if num_known:
        score = scores(history, known, round_idx)
        limit = _CUT_OFF * np.sort(score)[-num_known]
        good = score >= limit
        chosen += _sampled(known[good], score[good], num_known, rng)
    return (*chosen, *_sampled(new, num_samples[new].astype(np.float64), num_new, rng))


def _sampled(
    clients: NDArray[np.int64], weights: NDArray[np.float64], count: int, rng: np.random.Generator
) -> list[int]:
    """Return `count` different clients, sampled by weight; weights of 0 count as a small share."""
    if not count:
        return []
    weights = np.maximum(weights, 1e-9 * max(1e-9, float(weights.max())))
    return [int(k) for k in rng.choice(clients, count, replace=False, p=weights / weights.sum())]
