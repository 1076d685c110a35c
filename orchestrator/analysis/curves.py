"""How a configuration's mean goes over its rounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.analysis.options import COSTS, Cost
from orchestrator.analysis.statistics import half_width
from orchestrator.tracking.record import RoundRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """A round (0-based): the mean over all seeds, its 95 % half width (None for one seed), the mean costs.

    `costs` are cumulative, in bytes, FLOPs and emulated seconds; one that a seed did not log is missing.
    """

    round_idx: int
    mean: float
    half_width: float | None
    costs: Mapping[Cost, float]


def curve_of(runs: Sequence[Sequence[RoundRecord]], metric: str) -> tuple[CurvePoint, ...]:
    """Means over the runs of one configuration, at the rounds at which all of them have a finite value.

    A round that only some seeds were evaluated at, or that only some came to, has no point: the curve would
    jump where the seeds that it is a mean of change. Runs that have no such round in common have no curve.
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
