"""The four averages of sparse updates. The averages give different models, so every run records which one it uses.

Each aggregator adds one contribution at a time, in plan order, in float64. a_k is the weight of client k, m_k its mask,
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

import torch
from torch import Tensor

from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload

AggregationName = Literal["wmean", "covmean", "dmean", "ipart"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contribution:
    """One decoded update. float32[D] `values` are 0 outside `mask` (bool[D]; None: all coordinates).

    `start` is the float32[D] model from which the client started. `values` and `start` are None for an update without
    a model. `items` are the update's other items.
    """

    client_id: int
    weight: float
    values: Tensor | None
    mask: Tensor | None
    start: Tensor | None
    items: Payload = ()


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """An average: float64[D] `values`, and float64[D] `coverage`, the total weight of the clients with each coordinate.

    `coverage` is None if every contribution has every coordinate. `extras` contains the float64 mean of each other
    item, by name. `num_updates` counts the contributions.
    """

    values: Tensor
    coverage: Tensor | None
    total_weight: float
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    num_updates: int = 0

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

    def add(self, contribution: Contribution) -> None:
        """Add one contribution to the sums."""
        self._num_updates += 1
        weight = contribution.weight
        for item in contribution.items:
            value = item_values(item)
            total = self._extras.setdefault(item.name, torch.zeros_like(value))
            total.add_(value, alpha=weight)
            self._extra_weights[item.name] = self._extra_weights.get(item.name, 0.0) + weight
        if contribution.values is not None:
            self._add_model(weight, self._term(contribution), contribution.mask)

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
            return Aggregate(values, coverage, self._total_weight, extras, self._num_updates)
        values = self._mean(self._weighted, values)
        return Aggregate(values, self._coverage, self._total_weight, extras, self._num_updates)

    def _term(self, contribution: Contribution) -> Tensor:
        """The term that is summed for one client: by default its values."""
        assert contribution.values is not None
        return contribution.values

    @abstractmethod
    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        """float64[D]: the average, from the weighted sum of all terms."""

    def _add_model(self, weight: float, term: Tensor, mask: Tensor | None) -> None:
        if self._weighted is None:
            self._weighted = torch.zeros(term.numel(), dtype=torch.float64)
        if mask is not None and self._coverage is None:
            self._coverage = torch.full_like(self._weighted, self._total_weight)
        self._weighted.add_(term.to(torch.float64), alpha=weight)
        if self._coverage is not None:
            self._coverage.add_(1.0 if mask is None else mask, alpha=weight)
        self._total_weight += weight


def item_values(item: Item) -> Tensor:
    """The numbers of an item as float64: bits as 0 and 1, a masked item as a vector with 0 outside its mask.

    Raises ValueError for a masked item whose number of values differs from the number of entries in its mask.
    """
    match item:
        case Dense():
            return torch.from_numpy(item.values.astype("float64"))
        case Bits():
            return torch.from_numpy(item.bits.astype("float64"))
        case Masked():
            vector = torch.zeros(item.mask.size, dtype=torch.float64)
            if int(item.mask.sum()) != item.values.size:
                raise ValueError(f"item {item.name!r}: its {item.values.size} values do not fit its mask")
            vector[torch.from_numpy(item.mask.copy())] = torch.from_numpy(item.values.astype("float64"))
            return vector
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

    def _term(self, contribution: Contribution) -> Tensor:
        assert contribution.values is not None
        assert contribution.start is not None
        delta = contribution.values.to(torch.float64) - contribution.start.to(torch.float64)
        return delta if contribution.mask is None else delta * contribution.mask

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        return server + weighted / self._total_weight


@final
class IntersectionMean(Aggregator):
    """`ipart`: averages only coordinates that all clients have (Hermes)."""

    def __init__(self) -> None:
        super().__init__()
        self._common: Tensor | None = None

    def _term(self, contribution: Contribution) -> Tensor:
        assert contribution.values is not None
        if (mask := contribution.mask) is not None:
            self._common = mask if self._common is None else self._common & mask
        return contribution.values

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        values = weighted / self._total_weight
        return values if self._common is None else torch.where(self._common, values, server)


AGGREGATORS: Mapping[AggregationName, type[Aggregator]] = MappingProxyType(
    {"wmean": WeightedMean, "covmean": CoverageMean, "dmean": DeltaMean, "ipart": IntersectionMean}
)
