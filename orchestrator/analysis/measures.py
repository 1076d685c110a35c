"""What is read off one run's rounds.

Metrics are by their logged names. A value that is not finite counts as measured but as no result: what it
would decide is None, never an earlier value in its place.
"""

import math
from collections.abc import Sequence

from orchestrator.tracking.record import RoundRecord

#: consecutive evaluations whose mean decides whether a target is reached
_NUM_AVERAGED = 3
#: a mean that is the target in decimals may be below it in floating point
_ROUNDING = 1e-12


def final_value(records: Sequence[RoundRecord], metric: str) -> float | None:
    """The last logged value; None when it was never logged, or is not finite."""
    return next((_finite(r.metrics[metric]) for r in reversed(records) if metric in r.metrics), None)


def total(records: Sequence[RoundRecord], metric: str) -> float | None:
    """The value at the last round; None without rounds, or when that round lacks it or has no finite one."""
    return _finite(records[-1].metrics.get(metric, math.nan)) if records else None


def value_at_cap(records: Sequence[RoundRecord], metric: str, cost: str, cap: float) -> float | None:
    """The value at the last round that has one and whose cumulative `cost` is at most `cap`.

    None when no round has, or when that value is not finite.
    """
    within = [r for r in _measured(records, metric, cost) if r.metrics[cost] <= cap]
    return _finite(within[-1].metrics[metric]) if within else None


def cost_to_reach(records: Sequence[RoundRecord], metric: str, cost: str, target: float) -> float | None:
    """Cumulative `cost` at the evaluation from which the value stays at or above `target`; None when there is none.

    It is the first evaluation from which on the mean of three consecutive values, that evaluation's and the next two,
    is at least `target` until the end of the records. A single high value of a curve that swings reaches nothing, and
    neither do the last two evaluations, which two others do not follow.
    """
    evaluated = [record for record in records if metric in record.metrics]
    values = [record.metrics[metric] for record in evaluated]
    first = None
    for place in reversed(range(len(values) - _NUM_AVERAGED + 1)):
        mean = sum(values[place : place + _NUM_AVERAGED]) / _NUM_AVERAGED
        if not (math.isfinite(mean) and mean >= target - _ROUNDING):
            break
        first = evaluated[place]
    return None if first is None else _finite(first.metrics.get(cost, math.nan))


def _measured(records: Sequence[RoundRecord], metric: str, cost: str) -> list[RoundRecord]:
    return [r for r in records if metric in r.metrics and cost in r.metrics]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
