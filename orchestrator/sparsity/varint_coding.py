"""Encodes numbers as LEB128 varints. Format version 1 codes the gaps between True entries in this way."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.wire_frame import Bytes

_PAYLOAD_BITS = 7
_CONTINUES = 0x80
#: bytes of the longest varint: 32 bits by 7
_LONGEST_VARINT = 5


def varint_lengths(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bytes of the minimal LEB128 varint of each number (int64, 0 to 2**32 - 1)."""
    lengths = np.ones(numbers.size, np.int64)
    largest = int(numbers.max(initial=0))
    for length in range(1, _LONGEST_VARINT):
        bound = 1 << (_PAYLOAD_BITS * length)
        if largest < bound:
            break
        lengths += numbers >= bound
    return lengths


def encode_varints(numbers: NDArray[np.int64]) -> Bytes:
    """Encode numbers as LEB128: seven bits a byte, lowest first; the high bit marks that another byte follows."""
    lengths = varint_lengths(numbers)
    ends = np.cumsum(lengths)
    section = np.empty(int(ends[-1]) if ends.size else 0, np.uint8)
    starts = ends - lengths
    for position in range(int(lengths.max(initial=0))):
        longer = lengths > position
        digits = (numbers[longer] >> (_PAYLOAD_BITS * position)) & (_CONTINUES - 1)
        section[starts[longer] + position] = digits | np.where(lengths[longer] > position + 1, _CONTINUES, 0)
    return section


def decode_varints(name: str, section: Bytes) -> NDArray[np.int64]:
    """Decode the numbers in a section of item `name`. Raises WireError for numbers that are not minimal varints."""
    last = section < _CONTINUES
    if section.size and not last[-1]:
        raise WireError(f"item {name!r}: the mask section ends within a number")
    if last.all():
        return section.astype(np.int64)
    ends = np.flatnonzero(last)
    lengths = np.diff(ends, prepend=-1)
    if int(lengths.max()) > _LONGEST_VARINT or np.any((section[ends] == 0) & (lengths > 1)):
        raise WireError(f"item {name!r}: the mask section has a number that is not a minimal varint")
    starts = ends - lengths + 1
    numbers = np.zeros(ends.size, np.int64)
    for position in range(int(lengths.max())):
        longer = lengths > position
        digits = section[starts[longer] + position].astype(np.int64) & (_CONTINUES - 1)
        numbers[longer] |= digits << (_PAYLOAD_BITS * position)
    return numbers
