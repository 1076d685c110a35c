"""Computes means over seeds and their confidence intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A measure over seeds.

    - `values`: one value per seed; None for a seed without a result.
    - `mean`: mean over all seeds; None if a seed has no result, because a mean over some seeds would be biased.
    - `half_width`: half width of the 95 % Student-t interval of the mean; None for fewer than two seeds.
    """

    values: tuple[float | None, ...]
    mean: float | None
    half_width: float | None

    @property
    def num_seeds(self) -> int:
        """Number of seeds, with and without a result."""
        return len(self.values)

    @property
    def num_reached(self) -> int:
        """Number of seeds that have a result."""
        return sum(value is not None for value in self.values)


def spread(values: Iterable[float | None]) -> Spread:
    """Compute mean and interval of values that are finite or None."""
    given = tuple(values)
    known = [value for value in given if value is not None]
    assert all(math.isfinite(value) for value in known)
    complete = bool(given) and len(known) == len(given)
    mean = math.fsum(known) / len(known) if complete else None
    return Spread(values=given, mean=mean, half_width=half_width(known) if complete else None)


def half_width(values: Sequence[float]) -> float | None:
    """Return the half width of the 95 % Student-t interval of the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    num = len(values)
    mean = math.fsum(values) / num
    variance = math.fsum((value - mean) ** 2 for value in values) / (num - 1)
    quantile = float(stdtrit(num - 1, (1 + _CONFIDENCE) / 2))
    return quantile * math.sqrt(variance / num)


def p_value(values: Sequence[float]) -> float | None:
    """Return the p-value of the two-sided t test of a mean of 0; None for fewer than two values.

    Equal values other than 0 have the p-value 0, because they do not vary; values that are all 0 have 1.
    """
    half = half_width(values)
    if half is None:
        return None
    from scipy.special import stdtr, stdtrit

    mean = math.fsum(values) / len(values)
    if half == 0.0:
        return 1.0 if mean == 0.0 else 0.0
    freedom = len(values) - 1
    statistic = mean / (half / float(stdtrit(freedom, (1 + _CONFIDENCE) / 2)))
    return 2.0 * float(stdtr(freedom, -abs(statistic)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's correction for several tests, in the given order.

    The k-th smallest of m p-values is multiplied by m - k + 1. A corrected value is at most 1, and not below the
    corrected value of a smaller p-value.
    """
    order = sorted(range(len(p_values)), key=lambda idx: p_values[idx])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, idx in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[idx]))
        corrected[idx] = largest
    return corrected
