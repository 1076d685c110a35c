"""Payloads between server and client: typed items. The bytes of a payload are the only bytes that are counted."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
#: positions in a vector, ascending
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A float32[n] vector of which all entries are sent."""

    name: str
    values: Float32


@final
class Masked:
    """The kept entries of a vector: `mask` is bool[W] over the maskable entries, `values` is float32[nnz + U].

    The values have the order of the vector. They include the U entries that are not maskable. An item has a mask or the
    positions of the True entries (`at`); it computes the other form when the form is first read.
    """

    __match_args__ = ("name", "values", "mask")
    __slots__ = ("_indices", "_mask", "name", "values", "width")

    def __init__(self, name: str, values: Float32, mask: Bool) -> None:
        self.name, self.values, self.width = name, values, mask.size
        self._mask: Bool | None = mask
        self._indices: Index | None = None

    @classmethod
    def from_indices(cls, name: str, values: Float32, indices: Index, width: int) -> "Masked":
        """Return the item whose mask of `width` entries is True at `indices` (int64[nnz], ascending, below `width`)."""
        item = cls(name, values, np.empty(0, np.bool_))
        item._mask, item._indices, item.width = None, indices, width
        return item

    @property
    def mask(self) -> Bool:
        """The mask, bool[W]; read-only if it was computed from positions."""
        if self._mask is None:
            self._mask = np.zeros(self.width, np.bool_)
            self._mask[self._indices] = True
            self._mask.flags.writeable = False
        return self._mask

    @property
    def indices(self) -> Index:
        """Positions of the True entries in the mask, int64[nnz], ascending."""
        if self._indices is None:
            self._indices = np.flatnonzero(self.mask)
        return self._indices

    @property
    def num_kept(self) -> int:
        """Number of True entries in the mask, nnz."""
        return int(np.count_nonzero(self.mask)) if self._indices is None else self._indices.size

    def has_mask(self, mask: Bool) -> bool:
        """Return whether the item's mask is equal to a mask, bool[W]."""
        if self._indices is None:
            return np.array_equal(self.mask, mask)
        is_as_long = self.width == mask.size and self.num_kept == np.count_nonzero(mask)
        return is_as_long and bool(mask[self._indices].all())


@dataclass(frozen=True, slots=True, eq=False)
class Bits:
    """A bool[n] vector, encoded with one bit per entry."""

    name: str
    bits: Bool


@dataclass(frozen=True, slots=True)
class Scalar:
    """One float64 number."""

    name: str
    value: float


Item = Dense | Masked | Bits | Scalar
Payload = tuple[Item, ...]


def with_values(item: Dense | Masked, values: Float32) -> Dense | Masked:
    """Return the item with other values of the same kind."""
    return Dense(item.name, values) if isinstance(item, Dense) else Masked(item.name, values, item.mask)
