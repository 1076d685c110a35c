"""Decodes some of the positions that `gap_coding` encoded: those within a part of the vector.

Legend: W = length of the vector, m = number of positions, k = low bits of each gap (see `gap_coding`).

The position of entry i is (u(i) - i) 2^k + s(i) + i. u(i) is the place of the one that ends entry i in the unary part
of the stream, and s(i) is the sum of the low bits of the gaps 0 to i. Counts of ones give both, so that a binary search
finds the first entry of a part without decoding the entries before it.
"""

from bisect import bisect_left
from typing import final

import numpy as np

from orchestrator.sparsity.gap_coding import count_bytes, low_bits, positions_from
from orchestrator.sparsity.payload import Index
from orchestrator.sparsity.slicing.bit_counts import BitCounts
from orchestrator.sparsity.wire_frame import Bytes


def decode_gap_slice(section: Bytes, width: int, start: int, stop: int) -> tuple[int, Index]:
    """Return how many positions lie before `start`, and those in [start, stop), int64[n], ascending.

    The section must be one that `decode_gaps` accepts.
    """
    head = count_bytes(width)
    count = int.from_bytes(section[:head].tobytes(), "little")
    if not count:
        return 0, np.empty(0, np.int64)
    stream = _GapStream(section[head:], count, low_bits(width, count))
    first, last = stream.first_from(start), stream.first_from(stop)
    return first, stream.positions(first, last)


@final
class _GapStream:
    """The planes of low bits and the unary parts of m gaps."""

    def __init__(self, stream: Bytes, count: int, k: int) -> None:
        self._counts, self._count, self._k = BitCounts(stream), count, k
        self._ones_before_plane = [self._counts.ones_before(plane * count) for plane in range(k + 1)]

    def first_from(self, position: int) -> int:
        """Return the number of the first entry at or after a position; m if all entries lie before it."""
        return bisect_left(range(self._count), position, key=self._position)

    def positions(self, first: int, last: int) -> Index:
        """Return the positions of the entries [first, last), int64[last - first]."""
        if first == last:
            return np.empty(0, np.int64)
        planes = np.empty((self._k, last - first), np.uint8)
        for plane in range(self._k):
            begin = plane * self._count
            planes[plane] = self._counts.bits(begin + first, begin + last)
        start = self._end(first - 1) + 1 if first else self._k * self._count
        ends = np.flatnonzero(self._counts.bits(start, self._end(last - 1) + 1).view(np.bool_))
        positions = positions_from(ends, planes, self._k)
        positions += self._position(first - 1) + 1 if first else 0
        return positions

    def _end(self, entry: int) -> int:
        """Return the place in the stream of the one that ends an entry."""
        return self._counts.place(self._ones_before_plane[self._k] + entry)

    def _position(self, entry: int) -> int:
        low = 0
        for plane in range(self._k):
            ones = self._counts.ones_before(plane * self._count + entry + 1) - self._ones_before_plane[plane]
            low += ones << (self._k - 1 - plane)
        unary = self._end(entry) - self._k * self._count
        return ((unary - entry) << self._k) + low + entry
