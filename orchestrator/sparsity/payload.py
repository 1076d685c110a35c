"""What travels between a server and a client: typed items, from which alone bytes are counted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A float32[n] vector, sent whole."""

    name: str
    values: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """The kept entries of a vector: `mask` is bool[W] over the maskable entries, `values` float32[nnz + U].

    The values stand in vector order and include the U entries that no mask covers.
    """

    name: str
    values: Float32
    mask: Bool


@dataclass(frozen=True, slots=True, eq=False)
class Bits:
    """A bool[n] vector, one bit an entry on the wire."""

    name: str
    bits: Bool


@dataclass(frozen=True, slots=True)
class Scalar:
    """One float64 number."""

    name: str
    value: float


Item = Dense | Masked | Bits | Scalar
Payload = tuple[Item, ...]
