"""Krum, Multi-Krum and the geometric median by hand, and against oracles in plain Python."""

from collections.abc import Callable, Sequence
from itertools import permutations
from math import hypot, inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.robust.update_weights import geometric_median, krum, squared_distances
from orchestrator.sparsity.payload import Dense, Scalar
from tests.support.kept_updates import kept, sent


def _assume(number: int) -> Callable[[int], int]:
    return lambda n: number


def test_squared_distances_by_hand() -> None:
    """3-4-5 triangles: 25, and 100 for the double."""
    updates = kept(sent([0.0, 0.0]), sent([3.0, 4.0]), sent([6.0, 8.0]))
    np.testing.assert_array_equal(
        squared_distances(updates), [[0.0, 25.0, 100.0], [25.0, 0.0, 25.0], [100.0, 25.0, 0.0]]
    )


def test_squared_distances_are_scaled_from_the_common_coordinates() -> None:
    """The clients share 2 of 4 coordinates, so (9 + 16) x 4 / 2 = 50; without a common coordinate: infinite."""
    updates = kept(
        sent([0.0, 0.0, 5.0, 9.0], [1, 1, 1, 0]),
        sent([3.0, 4.0, 9.0, 1.0], [1, 1, 0, 1]),
        sent([1.0, 1.0, 7.0, 1.0], [0, 0, 1, 0]),
    )
    distances = squared_distances(updates)
    assert distances[0, 1] == distances[1, 0] == 50.0
    assert distances[0, 2] == 16.0  # (5 - 7)^2 x 4 / 1
    assert distances[1, 2] == inf


def test_distances_count_further_vectors_but_no_scalars() -> None:
    first = sent([0.0], items=(Dense("control", np.array([2.0], np.float32)), Scalar("loss", 100.0)))
    second = sent([1.0], items=(Dense("control", np.array([5.0], np.float32)), Scalar("loss", 0.0)))
    assert squared_distances(kept(first, second))[0, 1] == 1.0 + 9.0


def test_krum_by_hand() -> None:
    """n = 5, f = 1: two neighbours. Scores of 0, 1, 2, 4, 50: 1 + 4 = 5, 1 + 1 = 2, 1 + 4 = 5, 4 + 9 = 13, large."""
    updates = kept(*(sent([x], weight=2.0) for x in (0.0, 1.0, 2.0, 4.0, 50.0)))
    np.testing.assert_array_equal(krum(_assume(1), 1)(updates), [0.0, 2.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(krum(_assume(1), 3)(updates), [2.0, 2.0, 2.0, 0.0, 0.0])
    np.testing.assert_array_equal(krum(_assume(1), None)(updates), [2.0, 2.0, 2.0, 2.0, 0.0])


def test_earlier_update_wins_a_tie() -> None:
    updates = kept(*(sent([x]) for x in (0.0, 1.0, 1.0, 0.0, 9.0)))
    scores_are_equal = krum(_assume(1), 1)(updates)
    np.testing.assert_array_equal(scores_are_equal, [1.0, 0.0, 0.0, 0.0, 0.0])


def test_krum_rejects_too_few_updates() -> None:
    with pytest.raises(ValueError, match="withstands 1 of 4 updates only if there are at least 5"):
        krum(_assume(1), 1)(kept(*(sent([float(x)]) for x in range(4))))


_VALUES = st.integers(-9, 9).map(float)


def _krum_oracle(vectors: Sequence[Sequence[float]], f: int) -> list[float]:
    """The score of each vector, from the definition."""
    n = len(vectors)
    scores = []
    for i in range(n):
        others = sorted(
            sum((a - b) ** 2 for a, b in zip(vectors[i], vectors[j], strict=True)) for j in range(n) if j != i
        )
        scores.append(sum(others[: n - f - 2]))
    return scores


@given(st.lists(st.tuples(_VALUES, _VALUES, _VALUES), min_size=7, max_size=7), st.integers(0, 2))
def test_krum_equals_the_oracle(vectors: list[tuple[float, ...]], f: int) -> None:
    scores = _krum_oracle(vectors, f)
    ranked = sorted(range(7), key=lambda i: scores[i])
    for num_selected in (1, 4):
        weights = krum(_assume(f), num_selected)(kept(*(sent(v) for v in vectors)))
        assert np.flatnonzero(weights).tolist() == sorted(ranked[:num_selected])


def _sum_of_distances(z: tuple[float, float], points: Sequence[tuple[float, float]]) -> float:
    return sum(hypot(z[0] - x, z[1] - y) for x, y in points)


def _mean(weights: Sequence[float], contributions: Sequence[Contribution]) -> list[float]:
    values = np.stack([c.values.numpy() for c in contributions if c.values is not None])
    return list((np.array(weights)[:, None] * values).sum(axis=0) / np.sum(weights))


def test_one_step_of_weiszfeld_by_hand() -> None:
    """x = 0, 0, 3 on a line: the mean is 1, the distances 1, 1, 2, so that b = 1, 1, 1/2 and z = 1.5 / 2.5 = 0.6."""
    updates = [sent([x]) for x in (0.0, 0.0, 3.0)]
    weights = geometric_median(1, 1e-6)(kept(*updates))
    np.testing.assert_array_equal(weights, [1.0, 1.0, 0.5])
    assert _mean(list(weights), updates) == pytest.approx([0.6])


def test_weiszfeld_uses_the_given_weights_and_the_smallest_distance() -> None:
    """The weights 3 and 1 of 0 and 4 give the mean 1 and the distances 1 and 3; nu = 2 replaces the distance 1."""
    weights = geometric_median(1, 2.0)(kept(sent([0.0], weight=3.0), sent([4.0], weight=1.0)))
    np.testing.assert_allclose(weights, [1.5, 1.0 / 3.0])


def test_masked_step_of_weiszfeld_by_hand() -> None:
    """Means over the holders: 2 and 3. Distances on the own coordinates: sqrt(4 + 1), 2 and 1."""
    updates = kept(sent([0.0, 2.0]), sent([4.0, 0.0], [1, 0]), sent([0.0, 4.0], [0, 1]))
    weights = geometric_median(1, 1e-6)(updates)
    np.testing.assert_allclose(weights, [1.0 / sqrt(5.0), 0.5, 1.0])


@settings(deadline=None)
@given(st.lists(st.tuples(_VALUES, _VALUES), min_size=3, max_size=6))
def test_geometric_median_has_no_better_neighbour(points: list[tuple[float, float]]) -> None:
    """The sum of distances is convex, so that a point without a better neighbour is the minimum."""
    updates = [sent(p) for p in points]
    weights = geometric_median(500, 1e-9)(kept(*updates))
    z = _mean(list(weights), updates)
    best = _sum_of_distances((z[0], z[1]), points)
    for dx, dy in permutations((-0.1, 0.0, 0.1), 2):
        assert best <= _sum_of_distances((z[0] + dx, z[1] + dy), points) + 1e-2


def test_identical_updates_keep_their_mean() -> None:
    updates = [sent([1.5, -2.0], weight=w) for w in (1.0, 2.0, 5.0)]
    assert _mean(list(geometric_median(5, 1e-6)(kept(*updates))), updates) == pytest.approx([1.5, -2.0])
