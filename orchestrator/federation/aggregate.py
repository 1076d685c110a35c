"""The four averages of sparse updates. The averages give different models, so every run records which one it uses.

Each aggregator adds one contribution at a time, in plan order, in float64. A contribution with a mask is added
by index, so that its cost grows with the entries that the client sent. a_k is the weight of client k, m_k its mask,
w_k its values (0 outside m_k), and w_k0 the values from which the client started.

    wmean    sample-weighted mean     sum a_k w_k / sum a_k                    0 outside a client's mask counts
    covmean  coverage-weighted mean   sum a_k m_k w_k / sum a_k m_k            over the clients that have the coordinate
    dmean    mean of differences      w + sum a_k m_k (w_k - w_k0) / sum a_k   all clients in the denominator
    ipart    intersection average     covmean where all clients have the coordinate, the server's value elsewhere

A coordinate that no client has keeps the server's value.

An update may contain items besides the model: scores, bits, squared gradients. Each such item is averaged by name, as
sum a_k x_k / sum a_k over the clients that sent the item.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from orchestrator.sparsity.payload import Bits, Dense, Index, Item, Masked, Payload, Scalar
from orchestrator.sparsity.sparse_sum import Entries, add_terms, add_values, add_weight, entries_of

AggregationName = Literal["wmean", "covmean", "dmean", "ipart"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contribution:
    """One decoded update. float32[D] `values` are 0 outside `mask` (bool[D]; None: all coordinates).

    `entries` are a masked model's values by index; `values` and `mask` are then None. `start` is the float32[D] model
    from which the client started. `values`, `mask`, `start` and
    `entries` are None for an update without a model. `items` are the update's other
    items.
    """

    client_id: int
    weight: float
    values: Tensor | None
    mask: Tensor | None
    start: Tensor | None
    items: Payload = ()
    entries: Entries | None = None

    @property
    def has_model(self) -> bool:
        """Whether the update has a model."""
        return self.values is not None or self.entries is not None

    def masked_entries(self) -> Entries | None:
        """Return the model's entries; None for a model with all coordinates, and for an update without a model."""
        if self.values is None or self.mask is None:
            return self.entries
        return entries_of(self.values, self.mask)


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """An average: float64[D] `values`, and float64[D] `coverage`, the total weight of the clients with each coordinate.

    `coverage` is None if every contribution has every coordinate. `extras` contains the float64 mean of each other
    item, by name. `scalars` contains the value of each scalar item of each client, by name and client; of a client that
    was sampled twice, the later value. `num_updates` counts the contributions.
    """

    values: Tensor
    coverage: Tensor | None
    total_weight: float
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    num_updates: int = 0
    scalars: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def union(self) -> Tensor | None:
        """bool[D]: coordinates that at least one client has; None: all coordinates."""
        return None if self.coverage is None else self.coverage > 0

    def step_from(self, params: Tensor, num_trainable: int, lr: float) -> Tensor:
        """float64[D]: `params` after a step of rate `lr` to the average; running statistics take the average."""
        values = self.values.clone()
        start = params[:num_trainable].to(torch.float64)
        values[:num_trainable] += (lr - 1.0) * (values[:num_trainable] - start)
        return values


class Aggregator(ABC):
    """Averages contributions: call `add` for each in plan order, then `finish` once."""

    def __init__(self) -> None:
        self._num_updates = 0
        self._total_weight = 0.0
        self._weighted: Tensor | None = None
        self._coverage: Tensor | None = None
        self._extras: dict[str, Tensor] = {}
        self._extra_weights: dict[str, float] = {}
        self._scalars: dict[str, dict[int, float]] = {}

    def add(self, contribution: Contribution) -> None:
        """Add one contribution to the sums."""
        self._num_updates += 1
        weight = contribution.weight
        for item in contribution.items:
            self._add_item(item, weight)
            if isinstance(item, Scalar):
                self._scalars.setdefault(item.name, {})[contribution.client_id] = item.value
        if (entries := contribution.masked_entries()) is not None:
            self._add_entries(weight, entries, contribution.start)
        elif contribution.values is not None:
            self._add_vector(weight, contribution.values, contribution.start)

    def finish(self, server: Tensor) -> Aggregate:
        """The average; coordinates without a contribution take the value of the float32[D] `server` model.

        Raises ValueError if there are no contributions, or only contributions of weight 0.
        """
        weights = [*self._extra_weights.values(), *([] if self._weighted is None else [self._total_weight])]
        if self._num_updates == 0 or any(weight <= 0 for weight in weights):
            raise ValueError("nothing to aggregate: no contribution with a positive weight")
        extras = {name: total / self._extra_weights[name] for name, total in self._extras.items()}
        values, coverage = server.to(torch.float64), torch.zeros_like(server, dtype=torch.float64)
        if self._weighted is None:
            return Aggregate(values, coverage, self._total_weight, extras, self._num_updates, self._scalars)
        values = self._mean(self._weighted, values)
        return Aggregate(values, self._coverage, self._total_weight, extras, self._num_updates, self._scalars)

    def _term(self, values: Tensor, start: Tensor | None) -> Tensor:
        """The term that is summed for one client, float32[n] or float64[n]: by default its values.

        `values` and `start` are float32[n]: all coordinates, or those of a client's mask.
        """
        return values

    @abstractmethod
    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        """float64[D]: the average, from the weighted sum of all terms."""

    def _add_item(self, item: Item, weight: float) -> None:
        if isinstance(item, Masked):
            if item.num_kept != item.values.size:
                raise ValueError(f"item {item.name!r}: its {item.values.size} values do not fit its mask")
            total = self._extras.setdefault(item.name, _zeros(item.width))
            add_values(total, item.indices, item.values, weight)
        else:
            value = item_values(item)
            total = self._extras.setdefault(item.name, torch.zeros_like(value))
            total.add_(value, alpha=weight)
        self._extra_weights[item.name] = self._extra_weights.get(item.name, 0.0) + weight

    def _add_vector(self, weight: float, values: Tensor, start: Tensor | None) -> None:
        if self._weighted is None:
            self._weighted = _zeros(values.numel())
        self._weighted.add_(self._term(values, start).to(torch.float64), alpha=weight)
        if self._coverage is not None:
            self._coverage.add_(1.0, alpha=weight)
        self._total_weight += weight

    def _add_entries(self, weight: float, entries: Entries, start: Tensor | None) -> None:
        if self._weighted is None:
            self._weighted = _zeros(entries.size)
        if self._coverage is None:
            self._coverage = _zeros(entries.size).fill_(self._total_weight)
        self._sum_entries(self._weighted, weight, entries, start)
        add_weight(self._coverage, entries.index, weight)
        self._total_weight += weight

    def _sum_entries(self, total: Tensor, weight: float, entries: Entries, start: Tensor | None) -> None:
        add_values(total, entries.index, entries.values, weight)


def _zeros(size: int) -> Tensor:
    """float64[size]; numpy asks the system for huge pages, which make sums at scattered indices faster."""
    return torch.from_numpy(np.zeros(size))


def item_values(item: Dense | Bits | Scalar) -> Tensor:
    """The numbers of an item as float64: bits as 0 and 1."""
    match item:
        case Dense():
            return torch.from_numpy(item.values.astype("float64"))
        case Bits():
            return torch.from_numpy(item.bits.astype("float64"))
        case _:
            return torch.tensor(item.value, dtype=torch.float64)


@final
class WeightedMean(Aggregator):
    """`wmean`: the sample-weighted mean (FedAvg, arXiv 1602.05629)."""

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        values = weighted / self._total_weight
        return values if self._coverage is None else torch.where(self._coverage > 0, values, server)


@final
class CoverageMean(Aggregator):
    """`covmean`: the mean of each coordinate over the clients that have it (FedDST, Sub-FedAvg, HeteroFL)."""

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        if self._coverage is None:
            return weighted / self._total_weight
        return torch.where(self._coverage > 0, weighted / self._coverage, server)


@final
class DeltaMean(Aggregator):
    """`dmean`: the server's model plus the mean masked change of all clients (FedSpa, arXiv 2201.11380)."""

    def _term(self, values: Tensor, start: Tensor | None) -> Tensor:
        assert start is not None
        return values.to(torch.float64) - start.to(torch.float64)

    def _sum_entries(self, total: Tensor, weight: float, entries: Entries, start: Tensor | None) -> None:
        assert start is not None
        change = torch.from_numpy(entries.values.astype("float64")) - entries.take(start).to(torch.float64)
        add_terms(total, entries.index, change, weight)

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        return server + weighted / self._total_weight


@final
class IntersectionMean(Aggregator):
    """`ipart`: averages only coordinates that all clients have (Hermes)."""

    def __init__(self) -> None:
        super().__init__()
        self._common: Index | None = None

    def _sum_entries(self, total: Tensor, weight: float, entries: Entries, start: Tensor | None) -> None:
        super()._sum_entries(total, weight, entries, start)
        self._common = entries.index if self._common is None else _common(self._common, entries.index)

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        values = weighted / self._total_weight
        if self._common is None:
            return values
        index = torch.from_numpy(self._common)
        return server.index_copy(0, index, values[index])


def _common(one: Index, other: Index) -> Index:
    """Positions that are in both lists, int64[n]; both are ascending."""
    if not other.size:
        return other
    places = np.minimum(np.searchsorted(other, one), other.size - 1)
    is_common = np.equal(other[places], one)
    return one[is_common]


AGGREGATORS: Mapping[AggregationName, type[Aggregator]] = MappingProxyType(
    {"wmean": WeightedMean, "covmean": CoverageMean, "dmean": DeltaMean, "ipart": IntersectionMean}
)
