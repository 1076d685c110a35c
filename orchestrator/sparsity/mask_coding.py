"""Encodes and decodes masks: as no bytes, as a bitmap, or as varints of the gaps between True entries.

Legend: W = entries of the mask. Module `wire` describes the codings and the choice between them.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Bool, Float32, Index, Masked
from orchestrator.sparsity.wire_frame import Bytes, ItemHeader, MaskCoding, bitmap_bytes

NO_BYTES: Bytes = np.empty(0, np.uint8)

_PAYLOAD_BITS = 7
_CONTINUES = 0x80
#: bytes of the longest varint: 32 bits by 7
_LONGEST_VARINT = 5


def encode_mask(mask: Bool, known: Bool | None) -> tuple[MaskCoding, int, Bytes]:
    """Return coding, `extra` header field and section of a bool[W] mask.

    `known` is the mask that the receiver already has (None: it has none).
    """
    if known is not None and np.array_equal(mask, known):
        return "implicit", mask_checksum(mask), NO_BYTES
    num_kept = int(np.count_nonzero(mask))
    if num_kept == mask.size:
        return "full", 0, NO_BYTES
    gaps = _short_gaps(mask, num_kept)
    if gaps is None:
        return "bitmap", 0, encode_bitmap(mask)
    section = encode_varints(gaps)
    return "indices", section.size, section


def decode_masked(header: ItemHeader, values: Float32, section: Bytes, known: Bool | None) -> Masked:
    """Return a masked item with these values; its mask is read-only, and its indices come straight from gaps.

    Raises WireError for a section that `encode_mask` does not write, and for a checksum of another mask than `known`.
    """
    item = _read_mask(header, values, section, known)
    num_kept = item.num_kept
    if num_kept > header.num_values:
        raise WireError(f"item {header.name!r}: a mask of {num_kept} entries for {header.num_values} values")
    if header.coding == "bitmap" and (num_kept == item.width or _short_gaps(item.mask, num_kept) is not None):
        raise WireError(f"item {header.name!r}: a bitmap is not the shortest coding of its mask")
    if header.coding != "implicit" and known is not None and _is_mask(item, known):
        raise WireError(
            f"item {header.name!r}: the sender sent a mask that the receiver already has; pass the same masks to "
            "sender and receiver"
        )
    return item


def _is_mask(item: Masked, known: Bool) -> bool:
    """Whether an item has this mask."""
    if known.size != item.width or item.num_kept != np.count_nonzero(known):
        return False
    return bool(known[item.indices].all())


def _read_mask(header: ItemHeader, values: Float32, section: Bytes, known: Bool | None) -> Masked:
    match header.coding:
        case "implicit":
            if known is None:
                raise WireError(
                    f"item {header.name!r}: the sender left out a mask that the receiver does not have"
                )
            if known.size != header.width or mask_checksum(known) != header.extra:
                raise WireError(f"item {header.name!r}: sender and receiver have different masks")
            mask = known.view()
        case "full":
            mask = np.ones(header.width, np.bool_)
        case "bitmap":
            mask = decode_bitmap(header, section)
        case _:
            return Masked.at(header.name, values, _read_indices(header, section), header.width)
    mask.flags.writeable = False
    return Masked(header.name, values, mask)


def mask_checksum(mask: Bool) -> int:
    """Return the CRC-32 of the bitmap of a bool[W] mask."""
    return zlib.crc32(encode_bitmap(mask).data)


def encode_bitmap(bits: Bool) -> Bytes:
    """Encode bool[n] as uint8[ceil(n / 8)], with the first entry in the lowest bit."""
    return np.packbits(bits, bitorder="little")


def decode_bitmap(header: ItemHeader, section: Bytes) -> Bool:
    """Decode the entries of a bitmap section, bool[W]. Raises WireError when a bit beyond W is set."""
    unused = -header.width % 8
    if unused and section[-1] >> (8 - unused):
        raise WireError(f"item {header.name!r}: the bitmap has bits beyond its {header.width} entries")
    return np.unpackbits(section, count=header.width, bitorder="little").view(np.bool_)


def _short_gaps(mask: Bool, num_kept: int) -> NDArray[np.int64] | None:
    """Return the number of False entries before each True entry (None: varints would not be shorter than a bitmap)."""
    limit = bitmap_bytes(mask.size)
    if num_kept >= limit:
        return None
    indices = np.flatnonzero(mask)
    gaps = np.diff(indices, prepend=-1) - 1
    return gaps if int(_varint_lengths(gaps).sum()) < limit else None


def _read_indices(header: ItemHeader, section: Bytes) -> Index:
    gaps = decode_varints(header.name, section)
    indices = np.cumsum(gaps + 1) - 1
    if gaps.size and (gaps.max() >= header.width or indices[-1] >= header.width):
        raise WireError(f"item {header.name!r}: an index beyond the {header.width} entries of the mask")
    return indices


def _varint_lengths(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
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
    lengths = _varint_lengths(numbers)
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
