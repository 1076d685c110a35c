"""Who is drawn for a round. A draw costs no pass over the population, unless few of it can be drawn at all.

Legend: K = clients, n_k = training samples of client k.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: draws for each client that is wanted, before the whole population is looked through
_PATIENCE = 50

#: whether a client may be drawn now
Eligible = Callable[[int], bool]


class ClientSampler:
    """K clients with equal weights, or with those given: int64[K], not all 0."""

    def __init__(self, num_clients: int, weights: NDArray[np.int64] | None = None) -> None:
        self._num_clients, self._weights = num_clients, weights
        self._edges = None if weights is None else np.cumsum(weights)

    def draw(
        self,
        cohort: int,
        rng: np.random.Generator,
        eligible: Eligible | None = None,
        *,
        with_replacement: bool = False,
    ) -> tuple[int, ...]:
        """Up to `cohort` ids in the order drawn: one client after the other, by weight, from those that are left.

        `eligible` (None: all are) leaves clients out; fewer than `cohort` come back where it leaves fewer.
        """
        if eligible is None and self._edges is None:
            return tuple(int(k) for k in rng.choice(self._num_clients, cohort, replace=with_replacement))
        chosen: list[int] = []
        taken: set[int] = set()
        for _ in range(_PATIENCE * cohort):
            if len(chosen) == cohort:
                return tuple(chosen)
            k = self._one(rng)
            if (with_replacement or k not in taken) and (eligible is None or eligible(k)):
                chosen.append(k)
                taken.add(k)
        return (*chosen, *self._among_all(cohort - len(chosen), rng, eligible, taken, with_replacement))

    def _one(self, rng: np.random.Generator) -> int:
        if self._edges is None:
            return int(rng.integers(self._num_clients))
        return int(np.searchsorted(self._edges, rng.integers(self._edges[-1]), side="right"))

    def _among_all(
        self,
        count: int,
        rng: np.random.Generator,
        eligible: Eligible | None,
        taken: set[int],
        with_replacement: bool,
    ) -> list[int]:
        """The rest of a draw, after a pass over the population."""
        left = [
            k
            for k in range(self._num_clients)
            if (with_replacement or k not in taken)
            and (eligible is None or eligible(k))
            and (self._weights is None or self._weights[k] > 0)
        ]
        if not left or not count:
            return []
        weights = np.ones(len(left)) if self._weights is None else self._weights[left].astype(np.float64)
        count = count if with_replacement else min(count, len(left))
        drawn = rng.choice(len(left), count, replace=with_replacement, p=weights / weights.sum())
        return [left[int(i)] for i in drawn]
