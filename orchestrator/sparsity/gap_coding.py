"""Encodes ascending positions by the gaps between them, with a Golomb-Rice code close to the entropy of a random mask.

Legend: W = length of the vector, m = number of positions, g = entries between a position and the position before it.

    section = m in as many bytes as W needs, then one stream of bits, zero-padded to whole bytes
    k       = floor(log2(mean gap + 1/2)), where the mean gap is (W - m) / m
    stream  = k planes of m bits: bit k - 1 of every gap, ..., bit 0 of every gap
              then for each gap g >> k zeros and a one

Rice's code (Rice, 1979) has at most m (1 + k) + (W - m) / 2^k bits, whatever the gaps are. This is at most W bits for
m <= W / 3. For independent entries it has 1.0 to 1.03 times their entropy. The low bits of all gaps come first, so that
each part of the stream is read and written with a few operations over arrays.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Index
from orchestrator.sparsity.wire_frame import Bytes

#: planes of gaps below 2**7 are added in int8
_SMALL_BITS = 7


def low_bits(width: int, count: int) -> int:
    """Return k, the number of low bits of each gap. Requires 0 < count <= width / 2."""
    return ((2 * width - count) // (2 * count)).bit_length() - 1


def encode_gaps(indices: Index, width: int) -> Bytes:
    """Encode positions (int64[m], ascending, below `width`; 0 <= m <= width / 2)."""
    count = indices.size
    prefix = np.frombuffer(count.to_bytes(count_bytes(width), "little"), np.uint8)
    if not count:
        return prefix
    k = low_bits(width, count)
    gaps = np.empty(count, np.int64)
    gaps[0] = indices[0]
    np.subtract(indices[1:], indices[:-1], out=gaps[1:])
    gaps[1:] -= 1
    low: NDArray[np.uint8 | np.uint32]
    low = gaps.astype(np.uint8) if k <= _SMALL_BITS else gaps.astype(np.uint32)
    gaps >>= k
    gaps += 1
    ends = np.cumsum(gaps, out=gaps)
    stream = np.zeros(k * count + int(ends[-1]), np.uint8)
    for plane in range(k):
        np.bitwise_and(
            low >> (k - 1 - plane), 1, out=stream[plane * count : (plane + 1) * count], casting="unsafe"
        )
    ends += k * count - 1
    stream[ends] = 1
    return np.concatenate((prefix, np.packbits(stream, bitorder="little")))


def decode_gaps(name: str, section: Bytes, width: int) -> Index:
    """Decode the positions in a section of item `name`, int64[m], ascending.

    The function allocates memory in proportion to the section. Raises WireError for a section that `encode_gaps` does
    not write.
    """
    start = count_bytes(width)
    count = int.from_bytes(section[:start].tobytes(), "little")
    if section.size < start or count > width // 2:
        raise WireError(f"item {name!r}: the mask section has no valid number of entries")
    if not count:
        if section.size > start:
            raise WireError(f"item {name!r}: the mask section has bytes after its last entry")
        return np.empty(0, np.int64)
    k = low_bits(width, count)
    if (1 + k) * count > 8 * (section.size - start):
        raise WireError(f"item {name!r}: the mask section is too short for its {count} entries")
    stream = np.unpackbits(section[start:], bitorder="little")
    ends = np.flatnonzero(stream[k * count :].view(np.bool_))
    if ends.size != count:
        raise WireError(f"item {name!r}: the mask section has {ends.size} entries instead of {count}")
    if stream.size - (k * count + int(ends[-1]) + 1) >= 8:
        raise WireError(f"item {name!r}: the mask section has bytes after its last entry")
    if (int(ends[-1]) + 1 - count) << k >= width:
        raise WireError(f"item {name!r}: an index beyond the {width} entries of the mask")
    indices = positions_from(ends, stream[: k * count].reshape(k, count), k)
    if indices[-1] >= width:
        raise WireError(f"item {name!r}: an index beyond the {width} entries of the mask")
    return indices


def positions_from(ends: Index, planes: Bytes, k: int) -> Index:
    """Return the positions from the ends of the unary codes (int64[m], overwritten) and the low bits, uint8[k, m].

    The sum of the gaps up to entry i is (ends[i] - i) 2^k plus the sum of their low bits, and i further entries lie
    before entry i. The terms in i are added to the low bits, so that one sum over all entries is enough.
    """
    low: NDArray[np.int8 | np.int64]
    low = np.zeros(ends.size, np.int8) if k <= _SMALL_BITS else np.zeros(ends.size, np.int64)
    for plane in planes:
        np.left_shift(low, 1, out=low)
        np.bitwise_or(low, plane.view(np.int8), out=low)
    steps = np.subtract(low, (1 << k) - 1, out=low)
    ends <<= k
    ends += np.cumsum(steps, dtype=np.int64)
    ends += (1 << k) - 1
    return ends


def count_bytes(width: int) -> int:
    """Return the bytes of a number from 0 to `width`."""
    return (width.bit_length() + 7) // 8
