"""Median and trimmed mean by hand, and against an oracle that sorts the values of each coordinate."""

from math import ceil
from statistics import median as middle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.federation.robust.coordinates import CoordinateRule, covered_mean, median, trimmed_mean
from orchestrator.federation.robust.kept_updates import Float64, ValueBlock


def _block(
    values: list[list[float]], held: list[list[int]] | None = None, weights: list[float] | None = None
) -> ValueBlock:
    rows = np.array(values, np.float64)
    mask = np.ones(rows.shape, np.bool_) if held is None else np.array(held, np.bool_)
    given_weights = np.ones(len(values)) if weights is None else np.array(weights)
    return ValueBlock(
        start=0, values=rows * mask, held=mask, numbers=list(range(len(values))), weights=given_weights
    )


def _trimmed(share: float) -> CoordinateRule:
    return trimmed_mean(lambda n: ceil(round(share * n, 9)))


def test_median_by_hand() -> None:
    odd = _block([[1.0, 9.0], [5.0, 7.0], [100.0, -3.0]])
    np.testing.assert_array_equal(median(odd), [5.0, 7.0])
    even = _block([[1.0], [2.0], [4.0], [100.0]])
    np.testing.assert_array_equal(median(even), [3.0])


def test_median_counts_only_clients_that_hold_the_coordinate() -> None:
    """Of 1, 5 and 100 without the middle client: (1 + 100) / 2; without all but one: its value."""
    block = _block([[1.0, 1.0], [5.0, 5.0], [100.0, 100.0]], [[1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(median(block), [50.5, 100.0])


def test_trimmed_mean_by_hand() -> None:
    """One of five values goes at each end: (2 + 3 + 4) / 3 = 3 and (0 + 1 + 8) / 3 = 3."""
    block = _block([[1.0, -9.0], [2.0, 0.0], [3.0, 1.0], [4.0, 8.0], [1e6, 9.0]])
    np.testing.assert_allclose(_trimmed(0.2)(block), [3.0, 3.0], rtol=1e-15)


def test_trimmed_mean_weighs_the_values_that_remain() -> None:
    """(1 x 2 + 3 x 6) / 4 = 5; the largest and the smallest value do not count, whatever their weights are."""
    block = _block([[0.0], [2.0], [6.0], [50.0]], weights=[9.0, 1.0, 3.0, 9.0])
    np.testing.assert_array_equal(_trimmed(0.25)(block), [5.0])


def test_trimmed_mean_rounds_the_number_of_trimmed_values_up() -> None:
    """0.2 of 3 values is one value at each end, and of 2 values at most none: one at each end would leave nothing."""
    np.testing.assert_array_equal(_trimmed(0.2)(_block([[1.0], [2.0], [60.0]])), [2.0])
    np.testing.assert_array_equal(_trimmed(0.2)(_block([[1.0], [2.0], [60.0]], [[1], [0], [1]])), [30.5])


def test_trimmed_mean_of_share_zero_is_the_weighted_mean() -> None:
    block = _block([[1.0, 4.0], [2.0, 8.0]], [[1, 1], [1, 0]], [1.0, 3.0])
    np.testing.assert_array_equal(_trimmed(0.0)(block), [1.75, 4.0])


def test_of_equal_values_the_later_update_is_trimmed_at_the_upper_end() -> None:
    """The values do not differ, but the weights do: kept are the updates of weight 2 and 4 with the value 7."""
    block = _block([[7.0], [7.0], [7.0], [0.0]], weights=[2.0, 4.0, 8.0, 1.0])
    np.testing.assert_array_equal(_trimmed(0.25)(block), [7.0])
    np.testing.assert_array_equal(
        covered_mean(block, np.array([[True], [True], [False], [True]]), block.weights), [6.0]
    )


_NUMBERS = st.floats(-100.0, 100.0).map(lambda x: round(x, 3))


@st.composite
def _blocks(draw: st.DrawFn) -> ValueBlock:
    n, size = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    values = [[draw(_NUMBERS) for _ in range(size)] for _ in range(n)]
    held = [[draw(st.integers(0, 1)) for _ in range(size)] for _ in range(n)]
    weights = [draw(st.sampled_from([1.0, 2.0, 7.5])) for _ in range(n)]
    return _block(values, held, weights)


def _columns(block: ValueBlock) -> list[list[tuple[float, float]]]:
    """For each coordinate the values of its holders with their weights, in ascending order of the values."""
    rows = range(len(block.values))
    return [
        sorted(
            ((float(block.values[k, j]), float(block.weights[k])) for k in rows if block.held[k, j]),
            key=lambda pair: pair[0],
        )
        for j in range(block.values.shape[1])
    ]


def _where_held(result: Float64, block: ValueBlock) -> list[float]:
    return [float(x) for x, held in zip(result, block.held.any(axis=0), strict=True) if held]


@given(_blocks())
def test_median_equals_the_oracle(block: ValueBlock) -> None:
    expected = [middle(value for value, _ in column) for column in _columns(block) if column]
    assert _where_held(median(block), block) == pytest.approx(expected)


@given(_blocks(), st.sampled_from([0.0, 0.1, 0.2, 0.34, 0.49]))
def test_trimmed_mean_equals_the_oracle(block: ValueBlock, share: float) -> None:
    expected = []
    for column in _columns(block):
        n = len(column)
        trim = min(ceil(round(share * n, 9)), (n - 1) // 2) if n else 0
        rest = column[trim : n - trim]
        if rest:
            expected.append(sum(w * x for x, w in rest) / sum(w for _, w in rest))
    assert _where_held(_trimmed(share)(block), block) == pytest.approx(expected)
