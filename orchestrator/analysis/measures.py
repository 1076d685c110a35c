"""Measures of one run, computed from its records.

Metrics have their logged names. A non-finite value counts as an evaluation without a result: a measure that depends on
this value is None, and never falls back to an earlier value.
"""

import math
from collections.abc import Sequence

from orchestrator.tracking.record import RoundRecord

#: consecutive evaluations whose mean decides whether a target is reached
_NUM_AVERAGED = 3
#: tolerance: a mean that equals the target in decimals may be smaller in floating point
_ROUNDING = 1e-12


def final_value(records: Sequence[RoundRecord], metric: str) -> float | None:
    """Return the last logged value; None when no value was logged, or when the last value is not finite."""
    return next((_finite(r.metrics[metric]) for r in reversed(records) if metric in r.metrics), None)


def total(records: Sequence[RoundRecord], metric: str) -> float | None:
    """Return the value of the last round; None without rounds, and when the last round has no finite value."""
    return _finite(records[-1].metrics.get(metric, math.nan)) if records else None


def value_at_cap(records: Sequence[RoundRecord], metric: str, cost: str, cap: float) -> float | None:
    """Return the last value that was logged at a cumulative `cost` of at most `cap`.

    None when there is no such value, or when this value is not finite.
    """
    within = [r for r in _measured(records, metric, cost) if r.metrics[cost] <= cap]
    return _finite(within[-1].metrics[metric]) if within else None


def mean_of_last(
    records: Sequence[RoundRecord], metric: str, num: int, *, cost: str | None = None, cap: float = math.inf
) -> float | None:
    """Return the mean of the last `num` logged values, or of all if there are fewer.

    With `cost`, only values that were logged at a cumulative `cost` of at most `cap` count. None when there is no such
    value, or when one of the averaged values is not finite.
    """
    logged = [r for r in records if metric in r.metrics and (cost is None or cost in r.metrics)]
    within = [r.metrics[metric] for r in logged if cost is None or r.metrics[cost] <= cap][-num:]
    return _finite(math.fsum(within) / len(within)) if within and all(map(math.isfinite, within)) else None


def sum_of(
    records: Sequence[RoundRecord], metric: str, *, cost: str | None = None, cap: float = math.inf
) -> float | None:
    """Return the sum of all logged values.

    With `cost`, only values that were logged at a cumulative `cost` of at most `cap` count. None when there is no such
    value, or when one of them is not finite.
    """
    logged = (
        records if cost is None else [r for r in _measured(records, metric, cost) if r.metrics[cost] <= cap]
    )
    values = [r.metrics[metric] for r in logged if metric in r.metrics]
    return _finite(math.fsum(values)) if values and all(map(math.isfinite, values)) else None


def cost_to_reach(records: Sequence[RoundRecord], metric: str, cost: str, target: float) -> float | None:
    """Return the cumulative `cost` at the first evaluation that reaches `target`; None if no evaluation does.

    An evaluation reaches the target if the mean of three consecutive values is at least `target`, for the three values
    that start at this evaluation and for all later ones. A single high value of an oscillating curve therefore reaches
    no target. The last two evaluations reach no target, because fewer than two evaluations follow.
    """
    evaluated = [record for record in records if metric in record.metrics]
    values = [record.metrics[metric] for record in evaluated]
    first = None
    for start in reversed(range(len(values) - _NUM_AVERAGED + 1)):
        mean = sum(values[start : start + _NUM_AVERAGED]) / _NUM_AVERAGED
        if not (math.isfinite(mean) and mean >= target - _ROUNDING):
            break
        first = evaluated[start]
    return None if first is None else _finite(first.metrics.get(cost, math.nan))


def _measured(records: Sequence[RoundRecord], metric: str, cost: str) -> list[RoundRecord]:
    return [r for r in records if metric in r.metrics and cost in r.metrics]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
