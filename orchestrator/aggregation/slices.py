"""Divides the coordinates of vectors into slices, and joins the averages of the slices.

Legend: D = entries of the flat vector, N = number of slices. Slice s has the entries floor(D s / N) to
floor(D (s + 1) / N), without the last.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.exchange import ModelValues
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Scalar
from orchestrator.sparsity.slicing.payload_slices import VectorSlice
from orchestrator.sparsity.sparse_sum import Entries

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SliceNumber:
    """The number of a slice, from 0, and how many slices there are."""

    number: int
    count: int

    def bounds(self, size: int) -> tuple[int, int]:
        """Return the entries [start, stop) of a vector of this size."""
        return size * self.number // self.count, size * (self.number + 1) // self.count


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SliceAverage:
    """An `Aggregate` of one slice as arrays, whose memory processes of a node share."""

    values: Float64
    coverage: Float64 | None
    extras: Mapping[str, Float64]
    total_weight: float
    num_updates: int
    scalars: Mapping[str, Mapping[int, float]]

    @classmethod
    def of(cls, aggregate: Aggregate) -> "SliceAverage":
        """Return the arrays of an aggregate, without a copy."""
        return cls(
            values=aggregate.values.numpy(),
            coverage=None if aggregate.coverage is None else aggregate.coverage.numpy(),
            extras={name: extra.numpy() for name, extra in aggregate.extras.items()},
            total_weight=aggregate.total_weight,
            num_updates=aggregate.num_updates,
            scalars=aggregate.scalars,
        )


def join_averages(slices: Iterable[Callable[[], SliceAverage]], size: int) -> Aggregate:
    """Return the average of all coordinates, float64[size], from those of its slices in order.

    Each slice is fetched, copied and released before the next one, so that the memory does not grow with their number.
    """
    values, coverage = np.empty(size), None
    extras: dict[str, list[Float64]] = {}
    scalars: Mapping[str, Mapping[int, float]] = {}
    start, total_weight, num_updates = 0, 0.0, 0
    for fetch in slices:
        average = fetch()
        stop = start + average.values.size
        values[start:stop] = average.values
        if average.coverage is not None:
            coverage = np.empty(size) if coverage is None else coverage
            coverage[start:stop] = average.coverage
        for name, extra in average.extras.items():
            extras.setdefault(name, []).append(np.array(extra))
        start, total_weight, num_updates = stop, average.total_weight, average.num_updates
        scalars = average.scalars  # every slice has all of them
    return Aggregate(
        torch.from_numpy(values),
        None if coverage is None else torch.from_numpy(coverage),
        total_weight,
        {name: _joined(parts) for name, parts in extras.items()},
        num_updates,
        scalars,
    )


def _joined(parts: list[Float64]) -> Tensor:
    """An extra from its slices; every slice has the whole of a scalar."""
    return torch.from_numpy(parts[0] if parts[0].ndim == 0 else np.concatenate(parts))


def layout_slice(layout: ParameterLayout, start: int, stop: int) -> tuple[ParameterLayout, VectorSlice]:
    """Return the layout of the entries [start, stop) of the flat vector, and its maskable entries.

    The slice may cut segments, which then become vectors.
    """
    segments = []
    for segment in layout.segments:
        first, last = max(start, segment.offset), min(stop, segment.offset + segment.size)
        if first < last:
            segments.append(replace(segment, shape=(last - first,), offset=first - start))
    part = ParameterLayout(tuple(segments))
    before = sum(min(s.size, max(0, start - s.offset)) for s in layout.maskable)
    return part, VectorSlice(start, stop, before, before + part.num_maskable)


def cut_model(model: ModelValues | None, start: int, stop: int) -> ModelValues | None:
    """Return the entries [start, stop) of a model."""
    if model is None:
        return None
    if (entries := model.entries) is not None:
        first, last = np.searchsorted(entries.index, (start, stop))
        index = entries.index[first:last] - start
        return ModelValues.from_entries(Entries(index, entries.values[first:last], stop - start))
    return ModelValues(model.values[start:stop], None if model.mask is None else model.mask[start:stop])


def cut_item(item: Item, own: SliceNumber) -> Item:
    """Return the slice of an item that is not the model. Scalars stay whole."""
    match item:
        case Scalar():
            return item
        case Dense():
            start, stop = own.bounds(item.values.size)
            return Dense(item.name, item.values[start:stop])
        case Bits():
            start, stop = own.bounds(item.bits.size)
            return Bits(item.name, item.bits[start:stop])
        case Masked():
            start, stop = own.bounds(item.width)
            first, last = np.searchsorted(item.indices, (start, stop))
            indices = item.indices[first:last] - start
            return Masked.from_indices(item.name, item.values[first:last], indices, stop - start)
