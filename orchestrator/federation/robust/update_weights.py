"""Rules that weigh whole updates by the distances between them: Krum, Multi-Krum and the geometric median.

- Krum and Multi-Krum: Blanchard, El Mhamdi, Guerraoui and Stainer, "Machine Learning with Adversaries: Byzantine
  Tolerant Gradient Descent", NeurIPS 2017. The score of an update is the sum of its squared distances to the
  n - f - 2 closest other updates. Krum takes the update with the smallest score, Multi-Krum the mean of the m best.
  Both need n >= 2 f + 3 updates, of which f come from attackers.
- Geometric median: Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP 2022,
  arXiv 1912.13445: argmin_z sum a_k |z - x_k|, by the smoothed Weiszfeld algorithm. One step is
  b_k = a_k / max(nu, |z - x_k|) and z = sum b_k x_k / sum b_k. It starts at the weighted mean.

Deviations:

- With masks, Krum's squared distance is the sum over the coordinates that both clients hold, times D / (number of these
  coordinates) for D coordinates. Otherwise a small overlap would be an advantage. Without overlap the distance is
  infinite.
- With masks m_k, the geometric median minimises sum a_k |m_k (z - x_k)|. A step measures |z - x_k| on the coordinates
  that client k holds, and averages each coordinate over the clients that hold it.
- The mean of Multi-Krum weighs the chosen updates as the method's average does.

Distances cover the model and all further vectors of an update, without its scalars, whose units differ.
"""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np

from orchestrator.federation.robust.coordinates import covered_mean
from orchestrator.federation.robust.kept_updates import (
    Float64,
    KeptUpdate,
    ValueBlock,
    VectorStack,
    vector_names,
)

#: the new weight of each update, float64[n]; 0 leaves the update out
WeightRule = Callable[[Sequence[KeptUpdate]], Float64]


def krum(num_attackers: Callable[[int], int], num_selected: int | None) -> WeightRule:
    """Keep the weights of the `num_selected` updates with the best scores (None: all except the assumed attackers).

    `num_attackers` gives f for n updates.
    """

    def rule(updates: Sequence[KeptUpdate]) -> Float64:
        n = len(updates)
        f = num_attackers(n)
        if n < 2 * f + 3:
            raise ValueError(
                f"krum withstands {f} of {n} updates only if there are at least {2 * f + 3}; "
                "set runtime.min_clients, lower aggregation.attacker_share, or use another rule"
            )
        distances = squared_distances(updates)
        np.fill_diagonal(distances, np.inf)
        scores = np.sort(distances, axis=1)[:, : n - f - 2].sum(axis=1)
        best = np.argsort(scores, kind="stable")[: n - f if num_selected is None else num_selected]
        weights = np.zeros(n)
        weights[best] = [updates[number].weight for number in best]
        return weights

    return rule


def squared_distances(updates: Sequence[KeptUpdate]) -> Float64:
    """float64[n, n]: squared distances between updates, scaled from their common coordinates to all coordinates."""
    n = len(updates)
    sums, common, num_coordinates = np.zeros((n, n)), np.zeros((n, n)), 0
    for stack in _stacks(updates):
        num_coordinates += stack.size
        for block in stack.blocks():
            for row, number in enumerate(block.numbers):
                both = block.held & block.held[row]
                gaps = np.where(both, block.values - block.values[row], 0.0)
                sums[number, block.numbers] += np.square(gaps).sum(axis=1)
                common[number, block.numbers] += both.sum(axis=1)
    scale = np.divide(num_coordinates, common, out=np.full((n, n), np.inf), where=common > 0)
    return cast(Float64, np.where(common > 0, sums * np.where(common > 0, scale, 1.0), np.inf))


def geometric_median(iterations: int, smoothing: float) -> WeightRule:
    """Return the rule that gives the weights b_k after `iterations` steps, with nu = `smoothing`.

    The mean of the updates under these weights approximates the geometric median.
    """

    def rule(updates: Sequence[KeptUpdate]) -> Float64:
        given = np.array([update.weight for update in updates])
        weights = given
        for _ in range(iterations):
            weights = given / np.maximum(smoothing, _distances_to_mean(updates, weights))
        return weights

    return rule


def _distances_to_mean(updates: Sequence[KeptUpdate], weights: Float64) -> Float64:
    """float64[n]: the distance of each update to the mean under these weights, on the coordinates that it holds."""
    squares = np.zeros(len(updates))
    for stack in _stacks(updates):
        for block in stack.blocks():
            mean = weighted_mean(block, weights)
            squares[block.numbers] += np.square(np.where(block.held, block.values - mean, 0.0)).sum(axis=1)
    return np.sqrt(squares)


def weighted_mean(block: ValueBlock, weights: Float64) -> Float64:
    """float64[B]: the mean of a block over the clients that hold each coordinate; `weights` has one of each update."""
    return covered_mean(block, block.held, weights[block.numbers])


def _stacks(updates: Sequence[KeptUpdate]) -> list[VectorStack]:
    scalars = {name for update in updates for name in update.scalars}
    return [VectorStack(updates, name) for name in vector_names(updates) if name not in scalars]
