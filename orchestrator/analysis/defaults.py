"""Default upload caps and targets, chosen from the values of the compared runs."""

import math
from collections.abc import Iterable


def default_caps(upload_bytes: Iterable[float | None]) -> tuple[float, ...]:
    """Return three caps in bytes, rounded down to 2 significant digits; no cap when no run uploads.

    If the largest total upload is at most 4 times the smallest, the caps are a quarter, half and all of the smallest.
    Otherwise the caps are the smallest, the largest and their geometric mean. Totals of 0 do not count.
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
    """Return 80, 90 and 95 % of the best value, rounded down to hundredths, without targets of 0."""
    best = max((value for value in values if value is not None), default=0.0)
    hundredths = {math.floor(round(100 * share * best, 9)) for share in (0.8, 0.9, 0.95)}
    return tuple(number / 100 for number in sorted(hundredths) if number > 0)


def _two_digits(value: float) -> float:
    if value < 10:
        return math.floor(value * 10) / 10 if value >= 1 else value
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return float(value // unit * unit)
