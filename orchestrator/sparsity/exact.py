"""Shares as the decimals that they were written as, so that rounding a share of n entries is exact.

In floating point 1 - 0.7 is a little above 0.3 and 1 - 0.9 a little below 0.1: the ceiling, the floor or the nearest
integer of such a share of n may be one off where the exact product is an integer or half of an odd one.
"""

from fractions import Fraction

_LARGEST_DENOMINATOR = 10**9


def exact_share(share: float) -> Fraction:
    """The simplest fraction near a share that was read back from a float: 1 - 0.7 means 3/10."""
    return Fraction(share).limit_denominator(_LARGEST_DENOMINATOR)
