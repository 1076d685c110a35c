"""The length of a message by the documented wire format, computed without the encoder."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar

#: bytes of the message header, and of an item header without the item's name
_MESSAGE_BYTES, _ITEM_BYTES = 12, 16


def closed_form_bytes(payload: Payload, known: Mapping[str, Bool], value_bytes: int = 4) -> int:
    """Return the length in bytes of an encoded payload, with `value_bytes` bytes a value.

    `known` are the shared masks by item name, which the message does not contain.
    """
    total = _MESSAGE_BYTES if payload else 0
    for item in payload:
        total += _ITEM_BYTES + (len(item.name.encode()) + 3) // 4 * 4
        match item:
            case Dense():
                total += value_bytes * item.values.size
            case Masked():
                total += value_bytes * item.values.size + _mask_bytes(item.mask, known.get(item.name))
            case Bits():
                total += (item.bits.size + 7) // 8
            case Scalar():
                total += 8
    return total


def _mask_bytes(mask: Bool, known: Bool | None) -> int:
    """Return 0 for a shared mask and for all ones, else the shorter of a bitmap and varint-encoded gaps."""
    if mask.all() or (known is not None and np.array_equal(mask, known)):
        return 0
    kept = [-1, *np.flatnonzero(mask).tolist()]
    gaps = [b - a - 1 for a, b in pairwise(kept)]
    varints = sum(max(1, -(-gap.bit_length() // 7)) for gap in gaps)
    return min((mask.size + 7) // 8, varints)
