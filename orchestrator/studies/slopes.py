"""Fits the slope of a curve on logarithmic axes, which is the exponent of a rate of convergence."""

import math
from collections.abc import Sequence

import numpy as np

from orchestrator.tracking.record import RoundRecord


def fitted_slope(records: Sequence[RoundRecord], metric: str, skip: int) -> float | None:
    """Return the least-squares slope of log(metric) over log(round), with rounds counted from 1.

    `skip` is the number of first rounds that the fit leaves out. None for fewer than three values, and when a value is
    not positive and finite.
    """
    points = [
        (r.round_idx + 1, r.metrics[metric]) for r in records if metric in r.metrics and r.round_idx >= skip
    ]
    if len(points) < 3 or not all(math.isfinite(value) and value > 0.0 for _, value in points):
        return None
    x, y = np.log(np.asarray(points, dtype=np.float64)).T
    centred = x - x.mean()
    return float((centred * (y - y.mean())).sum() / (centred**2).sum())
