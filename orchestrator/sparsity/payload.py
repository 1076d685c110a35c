"""Payloads between server and client: typed items. The bytes of a payload are the only bytes that are counted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A float32[n] vector of which all entries are sent."""

    name: str
    values: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """The kept entries of a vector: `mask` is bool[W] over the maskable entries, `values` is float32[nnz + U].

    The values have the order of the vector. They include the U entries that are not maskable.
    """

    name: str
    values: Float32
    mask: Bool


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
