"""Samples the clients of a round.

Sampling takes time proportional to the cohort, not to the population. Only when too few sampled clients are eligible,
the sampler looks through the whole population.

Legend: K = clients, n_k = training samples of client k.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: attempts for each requested client before the sampler looks through the whole population
_ATTEMPTS_PER_CLIENT = 50

#: whether a client may be sampled now
Eligible = Callable[[int], bool]


class ClientSampler:
    """Samples from K clients, with equal weights or with the given weights: int64[K], not all 0."""

    def __init__(self, num_clients: int, weights: NDArray[np.int64] | None = None) -> None:
        self._num_clients, self._weights = num_clients, weights
        self._edges = None if weights is None else np.cumsum(weights)

    def sample(
        self,
        cohort: int,
        rng: np.random.Generator,
        eligible: Eligible | None = None,
        *,
        with_replacement: bool = False,
    ) -> tuple[int, ...]:
        """Return up to `cohort` client ids in the order in which they were sampled.

        Clients are sampled one after the other, by weight. Without replacement, a sampled client is not sampled again.
        `eligible` (None: all clients are) excludes clients. The result is shorter than `cohort` when too few clients
        are eligible.
        """
        if eligible is None and self._edges is None:
            return tuple(int(k) for k in rng.choice(self._num_clients, cohort, replace=with_replacement))
        chosen: list[int] = []
        excluded: set[int] = set()
        for _ in range(_ATTEMPTS_PER_CLIENT * cohort):
            if len(chosen) == cohort:
                return tuple(chosen)
            k = self._sample_one(rng)
            if k not in excluded and (eligible is None or eligible(k)):
                chosen.append(k)
                if not with_replacement:
                    excluded.add(k)
        return (*chosen, *self._sample_rest(cohort - len(chosen), rng, eligible, excluded, with_replacement))

    def _sample_one(self, rng: np.random.Generator) -> int:
        if self._edges is None:
            return int(rng.integers(self._num_clients))
        return int(np.searchsorted(self._edges, rng.integers(self._edges[-1]), side="right"))

    def _sample_rest(
        self,
        count: int,
        rng: np.random.Generator,
        eligible: Eligible | None,
        excluded: set[int],
        with_replacement: bool,
    ) -> list[int]:
        """Sample `count` more clients after looking through the whole population for eligible ones."""
        candidates = [
            k
            for k in range(self._num_clients)
            if k not in excluded
            and (eligible is None or eligible(k))
            and (self._weights is None or self._weights[k] > 0)
        ]
        if not candidates or not count:
            return []
        weights = (
            np.ones(len(candidates))
            if self._weights is None
            else self._weights[candidates].astype(np.float64)
        )
        count = count if with_replacement else min(count, len(candidates))
        sampled = rng.choice(len(candidates), count, replace=with_replacement, p=weights / weights.sum())
        return [candidates[int(i)] for i in sampled]
