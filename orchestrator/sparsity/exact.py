"""Converts shares to exact fractions, so that rounding a share of n entries is exact.

In floating point, 1 - 0.7 is slightly above 0.3, and 1 - 0.9 is slightly below 0.1. The ceiling, floor or nearest
integer of such a share of n may be off by one when the exact product is an integer, or an integer plus 1/2.
"""

from fractions import Fraction

_LARGEST_DENOMINATOR = 10**9


def exact_share(share: float) -> Fraction:
    """Return the simplest fraction near a share, which rounding may have changed: 1 - 0.7 gives 3/10."""
    return Fraction(share).limit_denominator(_LARGEST_DENOMINATOR)
