"""Rules of aggregation as users write them."""

import numpy as np
from numpy.typing import NDArray


def clipped_mean(
    values: NDArray[np.float64], held: NDArray[np.bool_], weights: NDArray[np.float64], limit: float = 1.0
) -> NDArray[np.float64]:
    """The weighted mean of the values, each limited to [-limit, limit]."""
    shares = weights[:, None] * held
    total = (shares * np.clip(values, -limit, limit)).sum(axis=0)
    divisor = shares.sum(axis=0)
    return np.divide(total, divisor, out=np.zeros_like(total), where=divisor > 0.0)
