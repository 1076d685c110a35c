"""The four ways to average sparse updates. They are not interchangeable; every run names the one in use.

All fold one contribution at a time, in plan order, in float64; a coordinate to which nobody contributed keeps
the server's value (for `ipart`: to which not everybody contributed). Definitions: a_k is a client's weight,
m_k its mask, w_k its values (0 outside m_k), w_k0 the values it started from.

    wmean    sum a_k w_k / sum a_k                       zeros of absent coordinates are averaged in
    covmean  sum a_k m_k w_k / sum a_k m_k               over the clients that hold the coordinate
    dmean    w + sum a_k m_k (w_k - w_k0) / sum a_k      every sampled client in the denominator
    ipart    covmean where all clients hold the coordinate, the server's value elsewhere
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol, final

import torch
from torch import Tensor

AggregationName = Literal["wmean", "covmean", "dmean", "ipart"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contribution:
    """One decoded update. float32[D] `values` are 0 outside `mask` (bool[D]; None: every coordinate is held).

    `start` is what the client started from, float32[D].
    """

    weight: float
    values: Tensor
    mask: Tensor | None
    start: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """Result of a fold: float64[D] `values`, and float64[D] `coverage`, the weight that held each coordinate.

    `coverage` is None where every contribution held every coordinate.
    """

    values: Tensor
    coverage: Tensor | None
    total_weight: float

    @property
    def union(self) -> Tensor | None:
        """bool[D]: coordinates that at least one client held; None: all."""
        return None if self.coverage is None else self.coverage > 0


class Aggregator(Protocol):
    """Folds contributions: `add` each in plan order, then `finish` once. `server` is float32[D]."""

    def add(self, contribution: Contribution) -> None:
        """Fold one contribution in."""

    def finish(self, server: Tensor) -> Aggregate:
        """The aggregate; raises ValueError when nothing, or only zero weights, were added."""


class _Sums:
    """Running float64 sums that all four aggregators need."""

    def __init__(self) -> None:
        self.total_weight = 0.0
        self.weighted: Tensor | None = None
        self.coverage: Tensor | None = None

    def add(self, weight: float, values: Tensor, mask: Tensor | None) -> None:
        """`values` must be 0 outside `mask`."""
        if self.weighted is None:
            self.weighted = torch.zeros(values.numel(), dtype=torch.float64)
        if mask is not None and self.coverage is None:
            self.coverage = torch.full_like(self.weighted, self.total_weight)
        self.weighted.add_(values.to(torch.float64), alpha=weight)
        if self.coverage is not None:
            self.coverage.add_(1.0 if mask is None else mask, alpha=weight)
        self.total_weight += weight

    def closed(self) -> Tensor:
        """float64[D] sum of weighted values, checked to be divisible."""
        if self.weighted is None or self.total_weight <= 0:
            raise ValueError("nothing to aggregate: no contribution with a positive weight")
        return self.weighted


@final
class WeightedMean:
    """`wmean` (FedAvg, arXiv 1602.05629)."""

    def __init__(self) -> None:
        self._sums = _Sums()

    def add(self, contribution: Contribution) -> None:
        """Fold one contribution in."""
        self._sums.add(contribution.weight, contribution.values, contribution.mask)

    def finish(self, server: Tensor) -> Aggregate:
        """See the module's docstring."""
        values, coverage = self._sums.closed() / self._sums.total_weight, self._sums.coverage
        if coverage is not None:
            values = torch.where(coverage > 0, values, server.to(torch.float64))
        return Aggregate(values, coverage, self._sums.total_weight)


@final
class CoverageMean:
    """`covmean`: each coordinate over the clients that hold it (FedDST, Sub-FedAvg, HeteroFL)."""

    def __init__(self) -> None:
        self._sums = _Sums()

    def add(self, contribution: Contribution) -> None:
        """Fold one contribution in."""
        self._sums.add(contribution.weight, contribution.values, contribution.mask)

    def finish(self, server: Tensor) -> Aggregate:
        """See the module's docstring."""
        sums, coverage = self._sums.closed(), self._sums.coverage
        if coverage is None:
            values = sums / self._sums.total_weight
        else:
            values = torch.where(coverage > 0, sums / coverage, server.to(torch.float64))
        return Aggregate(values, coverage, self._sums.total_weight)


@final
class DeltaMean:
    """`dmean`: mean of masked changes over all sampled clients (FedSpa, arXiv 2201.11380)."""

    def __init__(self) -> None:
        self._sums = _Sums()

    def add(self, contribution: Contribution) -> None:
        """Fold one contribution in."""
        delta = contribution.values.to(torch.float64) - contribution.start.to(torch.float64)
        if contribution.mask is not None:
            delta = delta * contribution.mask
        self._sums.add(contribution.weight, delta, contribution.mask)

    def finish(self, server: Tensor) -> Aggregate:
        """See the module's docstring."""
        values = server.to(torch.float64) + self._sums.closed() / self._sums.total_weight
        return Aggregate(values, self._sums.coverage, self._sums.total_weight)


@final
class IntersectionMean:
    """`ipart`: only coordinates that all clients hold are averaged (Hermes)."""

    def __init__(self) -> None:
        self._sums = _Sums()
        self._common: Tensor | None = None

    def add(self, contribution: Contribution) -> None:
        """Fold one contribution in."""
        self._sums.add(contribution.weight, contribution.values, contribution.mask)
        if contribution.mask is not None:
            self._common = contribution.mask if self._common is None else self._common & contribution.mask

    def finish(self, server: Tensor) -> Aggregate:
        """See the module's docstring."""
        values = self._sums.closed() / self._sums.total_weight
        if self._common is not None:
            values = torch.where(self._common, values, server.to(torch.float64))
        return Aggregate(values, self._sums.coverage, self._sums.total_weight)


AGGREGATORS: Mapping[AggregationName, Callable[[], Aggregator]] = MappingProxyType(
    {"wmean": WeightedMean, "covmean": CoverageMean, "dmean": DeltaMean, "ipart": IntersectionMean}
)
