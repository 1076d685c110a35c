"""Adds Gaussian noise to the mean of clipped updates (the Gaussian mechanism).

Every client has the weight 1. z is the noise multiplier, and C the largest norm of a change. The sum of the changes
gets noise of standard deviation z C in each coordinate that a client holds. The mean divides sum and noise by the
number of clients that it counts at a coordinate:

    wmean, dmean   all n clients of the round
    covmean        the clients that hold the coordinate
    ipart          all n clients, where all of them hold the coordinate

A coordinate that keeps the server's value gets no noise. The masks are public: they decide where noise is added.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from orchestrator.federation.aggregate import Aggregate, AggregationName


def noisy_aggregate(
    aggregate: Aggregate, average: AggregationName, deviation: float, rng: np.random.Generator
) -> Aggregate:
    """The aggregate of clients of weight 1, with noise of this standard deviation z C on the sum of their changes."""
    noise = torch.from_numpy(rng.standard_normal(aggregate.values.numel()))
    values = aggregate.values + deviation * noise * _shares(aggregate, average)
    return replace(aggregate, values=values)


def _shares(aggregate: Aggregate, average: AggregationName) -> Tensor:
    """float64[D]: 1 / the number of clients that the mean counts at a coordinate; 0 where the server's value stays."""
    n, coverage = aggregate.total_weight, aggregate.coverage
    if coverage is None:
        return torch.full_like(aggregate.values, 1.0 / n)
    if average == "covmean":
        return torch.where(coverage > 0, 1.0 / coverage, 0.0)
    changes = coverage >= n if average == "ipart" else coverage > 0
    return torch.where(changes, 1.0 / n, 0.0).to(torch.float64)
