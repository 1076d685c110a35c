"""Counts the ones in parts of a stream of bits, without unpacking the stream."""

from typing import final

import numpy as np
from numpy.typing import NDArray

from orchestrator.sparsity.wire_frame import Bytes

_BLOCK_BYTES = 64
_BLOCK_BITS = 8 * _BLOCK_BYTES


@final
class BitCounts:
    """The ones of a stream, uint8[n], the lowest bit of each byte first. One count per block of 512 bits is stored."""

    def __init__(self, stream: Bytes) -> None:
        self._stream = stream
        num_blocks = -(-stream.size // _BLOCK_BYTES)
        words = np.zeros(num_blocks * _BLOCK_BYTES // 8, np.uint64)
        words.view(np.uint8)[: stream.size] = stream
        per_block = np.bitwise_count(words).reshape(num_blocks, _BLOCK_BYTES // 8).sum(1, dtype=np.int64)
        self._before = np.concatenate((np.zeros(1, np.int64), np.cumsum(per_block)))

    def ones_before(self, end: int) -> int:
        """Return the number of ones in the bits [0, end)."""
        block = end // _BLOCK_BITS
        return int(self._before[block]) + int(np.count_nonzero(self.bits(block * _BLOCK_BITS, end)))

    def place(self, number: int) -> int:
        """Return the position of a one; `number` counts the ones from 0. The stream must have more ones."""
        block = int(np.searchsorted(self._before, number, side="right")) - 1
        start = block * _BLOCK_BITS
        bits = self.bits(start, min(start + _BLOCK_BITS, 8 * self._stream.size))
        return start + int(np.flatnonzero(bits)[number - int(self._before[block])])

    def bits(self, start: int, end: int) -> NDArray[np.uint8]:
        """Return the bits [start, end) as 0 and 1, uint8[end - start]."""
        first = start // 8
        unpacked = np.unpackbits(self._stream[first : (end + 7) // 8], bitorder="little")
        return unpacked[start - 8 * first : end - 8 * first]
