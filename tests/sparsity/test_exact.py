"""Exact fractions of shares that are floats."""

from fractions import Fraction

import pytest

from orchestrator.sparsity.exact import exact_share


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1 - 0.7, Fraction(3, 10)),
        (1 - 0.9, Fraction(1, 10)),
        (1 - 0.99, Fraction(1, 100)),
        (1 / 3, Fraction(1, 3)),
        (0.0, Fraction(0)),
        (1.0, Fraction(1)),
        (0.125, Fraction(1, 8)),
        (1e-9, Fraction(1, 10**9)),
    ],
)
def test_share_becomes_the_intended_fraction(share: float, expected: Fraction) -> None:
    assert exact_share(share) == expected
