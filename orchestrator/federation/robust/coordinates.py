"""Rules that combine each coordinate by itself: median and trimmed mean.

Source: Yin, Chen, Kannan and Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
ICML 2018, arXiv 1803.01498, definitions 1 (median) and 2 (trimmed mean: without the largest and the smallest share beta
of the values).

At a coordinate, n is the number of clients that hold it. Only these clients count there.

Deviations:

- The trimmed mean leaves out ceil(beta n) values at each end, but keeps at least one value (n odd) or two (n even). The
  paper assumes that beta n is an integer.
- The trimmed mean weighs the remaining values as the method's average does. Equal weights give the paper's mean.

The median ignores weights.
"""

from collections.abc import Callable
from typing import cast

import numpy as np

from orchestrator.federation.robust.kept_updates import Float64, ValueBlock
from orchestrator.sparsity.payload import Bool

#: the float64[B] result of a block; any number where no client holds the coordinate
CoordinateRule = Callable[[ValueBlock], Float64]


def median(block: ValueBlock) -> Float64:
    """The median of each coordinate; of an even number of values, the mean of the two in the middle."""
    ordered = np.sort(np.where(block.held, block.values, np.inf), axis=0)
    count = block.held.sum(axis=0)
    columns = np.arange(count.size)
    lower = ordered[np.maximum(count - 1, 0) // 2, columns]
    upper = ordered[np.minimum(count // 2, len(ordered) - 1), columns]
    return cast(Float64, 0.5 * lower + 0.5 * upper)


def trimmed_mean(num_attackers: Callable[[int], int]) -> CoordinateRule:
    """The mean of each coordinate without the `num_attackers(n)` values at both ends of its n values."""

    def rule(block: ValueBlock) -> Float64:
        count = block.held.sum(axis=0)
        trims = np.array([max(0, min(num_attackers(n), (n - 1) // 2)) for n in range(len(block.values) + 1)])[
            count
        ]
        # stable: of equal values, that of the earlier update has the lower rank
        order = np.argsort(np.where(block.held, block.values, np.inf), axis=0, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(len(order))[:, None], axis=0)
        kept = (rank >= trims) & (rank < count - trims)
        return covered_mean(block, kept, block.weights)

    return rule


def covered_mean(block: ValueBlock, counts: Bool, weights: Float64) -> Float64:
    """float64[B]: the mean of the values where `counts` (bool[n, B]) is True, under float64[n] weights.

    The sum runs in the order of the phase. A coordinate without a value gets 0.
    """
    total, divisor = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
    for row, weight in enumerate(weights):
        total += np.where(counts[row], weight * block.values[row], 0.0)
        divisor += np.where(counts[row], weight, 0.0)
    return np.divide(total, divisor, out=np.zeros_like(total), where=divisor > 0.0)
