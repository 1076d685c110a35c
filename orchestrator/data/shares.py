"""Draws from a symmetric Dirichlet distribution that stay finite at both ends."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

_EQUAL = 1e12


def dirichlet_shares(alpha: float, num_parts: int, num_draws: int, rng: Generator) -> NDArray[np.float64]:
    """float64[num_draws, num_parts]: rows ~ Dir(alpha * 1), each adding up to 1.

    Above an alpha of 1e12 the shares are equal to one part in a million, and larger values, whose gamma
    draws overflow when added up, are taken as that.
    """
    return rng.dirichlet(np.full(num_parts, min(alpha, _EQUAL)), size=num_draws)
