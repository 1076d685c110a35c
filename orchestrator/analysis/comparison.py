"""Everything that a comparison of runs comes to."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.analysis.configurations import Configuration
from orchestrator.analysis.curves import CurvePoint
from orchestrator.analysis.options import Cost, Metric
from orchestrator.analysis.pairing import PairedDifference
from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCost:
    """Cumulative emulated seconds and uploaded bytes at the round that reaches a target (`measures.cost_to_reach`)."""

    emulated_s: Spread
    upload_bytes: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One configuration. The values of each Spread are in the order of `configuration.runs`.

    `final` is by metric and `totals` by cost, both at the end of the runs. `at_caps` has the metric compared
    by at each of the comparison's caps, `reached` the cost of each of its targets. `difference` is None for
    the baseline and where there is none. `on_front` is False also where a mean is missing. `curve` is of
    the metric compared by.
    """

    configuration: Configuration
    final: Mapping[Metric, Spread]
    totals: Mapping[Cost, Spread]
    at_caps: tuple[Spread, ...]
    reached: tuple[TargetCost, ...]
    difference: PairedDifference | None
    on_front: bool
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows are ordered by the mean of `metric`, best first; those without a mean come last.

    `baseline` is a label, or None. `upload_caps` are bytes, `targets` shares of `metric`, both ascending.
    `notes` are lines on what was left out and why, and on what to beware of.
    """

    metric: Metric
    cost: Cost
    baseline: str | None
    upload_caps: tuple[float, ...]
    targets: tuple[float, ...]
    rows: tuple[ComparisonRow, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[ComparedRun]:
        """All runs that were compared, row by row."""
        return [run for row in self.rows for run in row.configuration.runs.values()]
