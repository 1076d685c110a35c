"""The length of a message by the documented wire format, computed without the encoder."""

from collections.abc import Mapping
from itertools import pairwise
from math import ceil, floor, log2
from types import MappingProxyType

import numpy as np

from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar

#: bytes of the message header, and of an item header without the item's name
_MESSAGE_BYTES, _ITEM_BYTES = 12, 16
#: bytes of a value by `wire.value_dtype`
VALUE_BYTES: Mapping[str, int] = MappingProxyType({"float32": 4, "float16": 2, "bfloat16": 2})


def closed_form_bytes(
    payload: Payload, known: Mapping[str, Bool], value_bytes: int = 4, version: int = 2
) -> int:
    """Return the length in bytes of an encoded payload, with `value_bytes` bytes a value, in a format version.

    `known` are the shared masks by item name, which the message does not contain.
    """
    total = _MESSAGE_BYTES if payload else 0
    for item in payload:
        total += _ITEM_BYTES + (len(item.name.encode()) + 3) // 4 * 4
        match item:
            case Dense():
                total += value_bytes * item.values.size
            case Masked():
                total += value_bytes * item.values.size + _mask_bytes(
                    item.mask, known.get(item.name), version
                )
            case Bits():
                total += (item.bits.size + 7) // 8
            case Scalar():
                total += 8
    return total


def _mask_bytes(mask: Bool, known: Bool | None, version: int) -> int:
    """Return 0 for a shared mask and for all ones, else the shorter of a bitmap and the gaps of the rarer entries."""
    if mask.all() or (known is not None and np.array_equal(mask, known)):
        return 0
    width, bitmap = mask.size, (mask.size + 7) // 8
    if version == 1:
        kept = [-1, *np.flatnonzero(mask).tolist()]
        gaps = [b - a - 1 for a, b in pairwise(kept)]
        return min(bitmap, sum(max(1, -(-gap.bit_length() // 7)) for gap in gaps))
    rarer: list[int] = np.flatnonzero(mask if 2 * mask.sum() <= width else ~mask).tolist()
    if 3 * len(rarer) > width:
        return bitmap
    count_bytes = (len(f"{width:b}") + 7) // 8
    if not rarer:
        return min(bitmap, count_bytes)
    low_bits = floor(log2((width - len(rarer)) / len(rarer) + 0.5))
    bits = sum(low_bits + 1 + ((b - a - 1) >> low_bits) for a, b in pairwise([-1, *rarer]))
    return min(bitmap, count_bytes + ceil(bits / 8))
