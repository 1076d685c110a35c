"""Samples from a symmetric Dirichlet distribution; the samples are finite for any alpha above 0."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_EQUAL = 1e12


def dirichlet_shares(alpha: float, num_parts: int, num_draws: int, rng: Generator) -> NDArray[np.float64]:
    """Return samples ~ Dir(alpha * 1), float64[num_draws, num_parts]; each row adds up to 1.

    Values of alpha above 1e12 count as 1e12, since the sums of their gamma variates may overflow. At 1e12 the shares
    are equal up to one part in a million.
    """
    return rng.dirichlet(np.full(num_parts, min(alpha, _EQUAL)), size=num_draws)
