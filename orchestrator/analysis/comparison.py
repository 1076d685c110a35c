"""The result of a comparison of runs."""

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
    """Cumulative emulated seconds and uploaded bytes at the evaluation that reaches a target (`cost_to_reach`)."""

    emulated_s: Spread
    upload_bytes: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """The values of one configuration. The values of each Spread are in the order of `configuration.runs`.

    - `final`: value of each metric at the end of the runs.
    - `totals`: total of each cost at the end of the runs.
    - `at_caps`: the comparison's metric at each of its upload caps.
    - `reached`: the cost to reach each of the comparison's targets.
    - `difference`: difference from the baseline; None for the baseline itself and without a baseline.
    - `on_front`: whether the configuration is on the Pareto front; False without a mean.
    - `curve`: mean curve of the comparison's metric.
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
    """A comparison of configurations.

    - `rows`: ordered by the mean of the metric `order`, best first; rows without a mean come last.
    - `baseline`: label of the baseline, or None.
    - `upload_caps`: bytes, ascending.
    - `targets`: values of `metric` as fractions, ascending.
    - `notes`: lines about runs that were left out, and warnings.
    """

    metric: Metric
    order: Metric
    cost: Cost
    baseline: str | None
    upload_caps: tuple[float, ...]
    targets: tuple[float, ...]
    rows: tuple[ComparisonRow, ...]
    notes: tuple[str, ...]

    @property
    def runs(self) -> list[ComparedRun]:
        """All compared runs, in the order of the rows."""
        return [run for row in self.rows for run in row.configuration.runs.values()]
