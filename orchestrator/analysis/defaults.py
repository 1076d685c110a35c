"""Caps and targets that fit the runs, where none are asked for."""

import math
from collections.abc import Iterable


def default_caps(upload_bytes: Iterable[float | None]) -> tuple[float, ...]:
    """Three caps, each to 2 significant digits, downwards; none at all when nobody uploads anything.

    Where the total uploads above 0 are alike, a quarter, a half and all of the smallest; where they differ by more
    than 4 times, the smallest, the largest, and their geometric mean.
    """
    totals = [total for total in upload_bytes if total is not None and total > 0]
    if not totals:
        return ()
    smallest, largest = min(totals), max(totals)
    if largest > 4 * smallest:
        chosen = (smallest, math.sqrt(smallest * largest), largest)
    else:
        chosen = (smallest / 4, smallest / 2, smallest)
    return tuple(sorted({_two_digits(cap) for cap in chosen}))


def default_targets(values: Iterable[float | None]) -> tuple[float, ...]:
    """80, 90 and 95 % of the best value, each to a hundredth, downwards; those above 0."""
    best = max((value for value in values if value is not None), default=0.0)
    hundredths = {math.floor(round(100 * share * best, 9)) for share in (0.8, 0.9, 0.95)}
    return tuple(number / 100 for number in sorted(hundredths) if number > 0)


def _two_digits(value: float) -> float:
    if value < 10:
        return math.floor(value * 10) / 10 if value >= 1 else value
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return float(value // unit * unit)
