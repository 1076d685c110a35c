"""Computes the mean curve of a configuration over its rounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.options import COSTS, Cost
from orchestrator.analysis.statistics import half_width
from orchestrator.tracking.record import RoundRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A point of a mean curve at a round (0-based).

    - `mean`: mean over all seeds.
    - `half_width`: half width of the 95 % confidence interval; None for a single seed.
    - `costs`: mean cumulative costs, in bytes, FLOPs and emulated seconds, without costs that a seed did not log.
    """

    round_idx: int
    mean: float
    half_width: float | None
    costs: Mapping[Cost, float]


def curve_of(runs: Sequence[Sequence[RoundRecord]], metric: str) -> tuple[CurvePoint, ...]:
    """Return the mean curve over the runs of one configuration.

    The curve has a point at each round in which all runs have a finite value. A round in which only some runs have a
    value has no point, because the curve would jump where the set of seeds changes. If the runs have no such round in
    common, the curve is empty.
    """
    measured = [{record.round_idx: record for record in records if _has(record, metric)} for records in runs]
    common = sorted(set.intersection(*(set(by_round) for by_round in measured))) if measured else []
    return tuple(_point([by_round[round_idx] for by_round in measured], metric) for round_idx in common)


def _point(records: Sequence[RoundRecord], metric: str) -> CurvePoint:
    values = [record.metrics[metric] for record in records]
    costs: dict[Cost, float] = {
        cost: math.fsum(record.metrics[name] for record in records) / len(records)
        for cost, name in COSTS.items()
        if all(_has(record, name) for record in records)
    }
    return CurvePoint(
        round_idx=records[0].round_idx,
        mean=math.fsum(values) / len(values),
        half_width=half_width(values),
        costs=costs,
    )


def _has(record: RoundRecord, metric: str) -> bool:
    return math.isfinite(record.metrics.get(metric, math.nan))
