"""Updates that are kept until all of a phase have arrived, and their vectors block by block.

Legend: n = number of updates, D = entries of a vector, B = entries of a block.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from orchestrator.federation.aggregate import Contribution, item_values
from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.sparsity.payload import Bool, Index, Item, Masked, Scalar

Float64 = NDArray[np.float64]

#: entries of a block. The number is fixed, so that the bits of a sum over blocks depend on the vectors alone
BLOCK = 1 << 14


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KeptVector:
    """One vector of an update, of `size` entries: `values`, float32[h] or float64[h], at the positions `index`.

    `index` is int64[h]; None: all positions. At other positions the client has no value, or the
    value 0 if `is_zero_elsewhere`.
    """

    values: NDArray[np.float32] | Float64
    index: Index | None
    size: int
    is_zero_elsewhere: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class KeptUpdate:
    """One update: its weight, and its vectors by name. The model has the name `theta`; a scalar is a vector of one."""

    client_id: int
    weight: float
    vectors: Mapping[str, KeptVector]
    scalars: Mapping[str, float]

    @classmethod
    def of(cls, contribution: Contribution, *, as_change: bool) -> "KeptUpdate":
        """Keep a contribution; with `as_change`, its model as the change from the model that the client received."""
        vectors = {item.name: _item_vector(item) for item in contribution.items}
        if contribution.has_model:
            vectors[MODEL_ITEM] = _model_vector(contribution, as_change)
        return cls(
            client_id=contribution.client_id,
            weight=contribution.weight,
            vectors=vectors,
            scalars={item.name: item.value for item in contribution.items if isinstance(item, Scalar)},
        )


def _item_vector(item: Item) -> KeptVector:
    """An item besides the model. As in an average, an entry outside the mask of a masked item is 0."""
    if isinstance(item, Masked):
        if item.num_kept != item.values.size:
            raise ValueError(f"item {item.name!r}: its {item.values.size} values do not fit its mask")
        return KeptVector(values=item.values, index=item.indices, size=item.width, is_zero_elsewhere=True)
    values = np.atleast_1d(item_values(item).numpy())
    return KeptVector(values=values, index=None, size=values.size)


def _model_vector(contribution: Contribution, as_change: bool) -> KeptVector:
    entries, start = contribution.masked_entries(), contribution.start
    if entries is not None:
        values: NDArray[np.float32] | Float64 = entries.values
        if as_change:
            assert start is not None
            values = values.astype(np.float64) - entries.take(start).numpy()
        return KeptVector(values=values, index=entries.index, size=entries.size)
    assert contribution.values is not None
    values = contribution.values.numpy()
    if as_change:
        assert start is not None
        values = values.astype(np.float64) - start.numpy()
    return KeptVector(values=values, index=None, size=values.size)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ValueBlock:
    """Consecutive entries of one vector of all updates that have it.

    `values` is float64[n, B], 0 where `held` (bool[n, B]) is False. `numbers` are the places of the n updates in the
    order of the phase, and `weights` (float64[n]) their weights. `start` is the position of the first entry.
    """

    start: int
    values: Float64
    held: Bool
    numbers: Sequence[int]
    weights: Float64


@final
class VectorStack:
    """The vectors of one name of all updates, in the order of the phase."""

    def __init__(self, updates: Sequence[KeptUpdate], name: str) -> None:
        """Raises ValueError for vectors of different sizes."""
        self._rows = [(number, u, u.vectors[name]) for number, u in enumerate(updates) if name in u.vectors]
        self.size = self._rows[0][2].size
        if any(vector.size != self.size for _, _, vector in self._rows):
            sizes = sorted({vector.size for _, _, vector in self._rows})
            raise ValueError(f"item {name!r} has the sizes {sizes} in different updates")

    @property
    def numbers(self) -> list[int]:
        """The places in the phase of the updates that have the vector."""
        return [number for number, _, _ in self._rows]

    @property
    def has_masks(self) -> bool:
        """Whether an update has only some entries of the vector."""
        return any(vector.index is not None for _, _, vector in self._rows)

    def blocks(self) -> Iterator[ValueBlock]:
        """Yield the blocks in order."""
        numbers = self.numbers
        weights = np.array([update.weight for _, update, _ in self._rows])
        for start in range(0, self.size, BLOCK):
            stop = min(start + BLOCK, self.size)
            values = np.zeros((len(numbers), stop - start))
            held = np.ones(values.shape, np.bool_)
            for row, (_, _, vector) in enumerate(self._rows):
                _fill(values[row], held[row], vector, start, stop)
            yield ValueBlock(start=start, values=values, held=held, numbers=numbers, weights=weights)


def _fill(values: Float64, held: Bool, vector: KeptVector, start: int, stop: int) -> None:
    """Write the entries [start, stop) of a vector into a row of a block."""
    if vector.index is None:
        values[:] = vector.values[start:stop]
        return
    first, last = np.searchsorted(vector.index, (start, stop))
    places = vector.index[first:last] - start
    values[places] = vector.values[first:last]
    if not vector.is_zero_elsewhere:
        held[:] = False
        held[places] = True


def vector_names(updates: Sequence[KeptUpdate]) -> tuple[str, ...]:
    """Return the names of all vectors, in the order of their first update."""
    return tuple(dict.fromkeys(name for update in updates for name in update.vectors))
