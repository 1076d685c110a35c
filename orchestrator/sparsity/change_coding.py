"""Encodes a mask as its difference from a mask that the receiver has.

Legend: W = entries of the masks, n = True entries of the known mask, r = removed entries (True in the known mask only),
a = added entries (True in the new mask only).

    section = CRC-32 of the known mask's bitmap, 4 bytes
              bytes of the first part, in as many bytes as W needs
              first part: the removed entries, as positions among the n True entries of the known mask
              second part: the added entries, as positions among the W - n False entries of the known mask

Both parts are coded as module `gap_coding` describes. They are coded apart, because a share of the kept entries changes
more often than the same share of the others. The coding applies if 0 < 2 (r + a) <= min(n, W - n).
"""

import zlib

import numpy as np

from orchestrator.errors import WireError
from orchestrator.sparsity.gap_coding import count_bytes, decode_gaps, encode_gaps
from orchestrator.sparsity.payload import Bool, Masked
from orchestrator.sparsity.wire_frame import Bytes

_CHECKSUM_BYTES = 4


def mask_checksum(mask: Bool) -> int:
    """Return the CRC-32 of the bitmap of a bool[W] mask."""
    return zlib.crc32(np.packbits(mask, bitorder="little").data)


def encode_changes(item: Masked, known: Bool) -> Bytes | None:
    """Encode an item's mask as its difference from `known` (bool[W]); None if the coding does not apply."""
    if known.size != item.width:
        return None
    num_known, is_old = int(np.count_nonzero(known)), known[item.indices]
    num_common = int(np.count_nonzero(is_old))
    if not _applies(num_known - num_common, item.num_kept - num_common, num_known, known.size):
        return None
    kept = np.flatnonzero(known)
    added = item.indices[~is_old]
    first = encode_gaps(np.flatnonzero(~item.mask[kept]), num_known)
    second = encode_gaps(added - np.searchsorted(kept, added), known.size - num_known)
    prefix = mask_checksum(known).to_bytes(_CHECKSUM_BYTES, "little")
    prefix += first.size.to_bytes(count_bytes(known.size), "little")
    return np.concatenate((np.frombuffer(prefix, np.uint8), first, second))


def decode_changes(name: str, section: Bytes, known: Bool) -> Bool:
    """Return the new mask, bool[W], that `encode_changes` coded as its difference from `known`.

    Raises WireError for a section that `encode_changes` does not write, and for a checksum of another known mask.
    """
    if int.from_bytes(section[:_CHECKSUM_BYTES].tobytes(), "little") != mask_checksum(known):
        raise WireError(f"item {name!r}: sender and receiver have different masks")
    first, second = change_parts(name, section, known.size)
    num_known = int(np.count_nonzero(known))
    removed = decode_gaps(name, first, num_known)
    added = decode_gaps(name, second, known.size - num_known)
    if not _applies(removed.size, added.size, num_known, known.size):
        raise WireError(f"item {name!r}: the mask has too many changes for their coding, or none")
    mask = known.copy()
    mask[np.flatnonzero(known)[removed]] = False
    mask[np.flatnonzero(~known)[added]] = True
    return mask


def change_parts(name: str, section: Bytes, width: int) -> tuple[Bytes, Bytes]:
    """Return the codes of the removed and of the added entries of a mask of `width` entries.

    Raises WireError for a section that is too short for its first part.
    """
    start = _CHECKSUM_BYTES + count_bytes(width)
    middle = start + int.from_bytes(section[_CHECKSUM_BYTES:start].tobytes(), "little")
    if middle > section.size:
        raise WireError(f"item {name!r}: the mask section is too short for its changes")
    return section[start:middle], section[middle:]


def _applies(num_removed: int, num_added: int, num_known: int, width: int) -> bool:
    return 0 < 2 * (num_removed + num_added) <= min(num_known, width - num_known)
