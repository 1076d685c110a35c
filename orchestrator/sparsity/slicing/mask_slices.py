"""Decodes a slice of an encoded mask: how many entries are kept before it, and which entries it keeps.

Legend: W = entries of the mask. The number of kept entries before the slice gives the offset of its values.
"""

from typing import assert_never

import numpy as np

from orchestrator.errors import WireError
from orchestrator.sparsity.change_coding import change_parts
from orchestrator.sparsity.payload import Bool, Index
from orchestrator.sparsity.slicing.bit_counts import BitCounts
from orchestrator.sparsity.slicing.gap_slices import decode_gap_slice
from orchestrator.sparsity.varint_coding import decode_varints
from orchestrator.sparsity.wire_frame import Bytes, ItemHeader


def decode_mask_slice(
    header: ItemHeader, section: Bytes, known: Bool | None, start: int, stop: int
) -> tuple[int, Index]:
    """Return the number of kept entries before `start`, and those in [start, stop) relative to `start`, int64[n].

    The section must be one that `mask_coding.decode_masked` accepts. `known` is the mask that the receiver has under
    the item's name, bool[W]. Raises WireError if a coding needs a mask that the receiver does not have.
    """
    match header.coding:
        case "implicit":
            known = _required(header, known)
            return int(np.count_nonzero(known[:start])), np.flatnonzero(known[start:stop])
        case "full" | "none":
            return start, np.arange(stop - start)
        case "bitmap":
            counts = BitCounts(section)
            return counts.ones_before(start), np.flatnonzero(counts.bits(start, stop))
        case "indices":
            indices = np.cumsum(decode_varints(header.name, section) + 1) - 1
            first, last = np.searchsorted(indices, (start, stop))
            return int(first), indices[first:last] - start
        case "gaps":
            num_before, indices = decode_gap_slice(section, header.width, start, stop)
            indices -= start
            return num_before, indices
        case "false_gaps":
            num_before, indices = decode_gap_slice(section, header.width, start, stop)
            kept = np.ones(stop - start, np.bool_)
            kept[indices - start] = False
            return start - num_before, np.flatnonzero(kept)
        case "changes":
            return _changed_slice(header.name, section, _required(header, known), start, stop)
        case _:
            assert_never(header.coding)


def _required(header: ItemHeader, known: Bool | None) -> Bool:
    if known is None or known.size != header.width:
        raise WireError(f"item {header.name!r}: the receiver does not have the mask to which the item refers")
    return known


def _changed_slice(name: str, section: Bytes, known: Bool, start: int, stop: int) -> tuple[int, Index]:
    """See `decode_mask_slice`; removed entries are positions among the known mask's True entries."""
    first_part, second_part = change_parts(name, section, known.size)
    num_known, inside = int(np.count_nonzero(known)), known[start:stop]
    true_before, true_inside = int(np.count_nonzero(known[:start])), int(np.count_nonzero(inside))
    false_before, false_inside = start - true_before, stop - start - true_inside
    num_removed, removed = decode_gap_slice(first_part, num_known, true_before, true_before + true_inside)
    num_added, added = decode_gap_slice(
        second_part, known.size - num_known, false_before, false_before + false_inside
    )
    kept = inside.copy()
    kept[np.flatnonzero(inside)[removed - true_before]] = False
    kept[np.flatnonzero(~inside)[added - false_before]] = True
    return true_before - num_removed + num_added, np.flatnonzero(kept)
