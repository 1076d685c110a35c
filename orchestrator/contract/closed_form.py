"""The length of a message by the documented wire format, computed without the encoder."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log2
from types import MappingProxyType

import numpy as np

from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.wire_frame import ValueDtype

#: bytes of the message header, and of an item header without the item's name
_MESSAGE_BYTES, _ITEM_BYTES = 12, 16
#: bytes of a value by `wire.value_dtype`
_VALUE_BYTES = MappingProxyType({"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1})


def closed_form_bytes(
    payload: Payload, known: Mapping[str, Bool], value_dtype: ValueDtype = "float32", version: int = 2
) -> int:
    """Return the length in bytes of a payload that is encoded with a dtype and in a format version.

    `known` are the shared masks by item name, which the message does not contain.
    """
    total = _MESSAGE_BYTES if payload else 0
    for item in payload:
        total += _ITEM_BYTES + (len(item.name.encode()) + 3) // 4 * 4
        match item:
            case Dense():
                total += _values_bytes(item.values.size, value_dtype)
            case Masked():
                total += _values_bytes(item.values.size, value_dtype)
                total += _mask_bytes(item.mask, known.get(item.name), version)
            case Bits():
                total += _bits_bytes(item.bits, version)
            case Scalar():
                total += 8
    return total


def _values_bytes(count: int, value_dtype: ValueDtype) -> int:
    """Return the bytes of `count` values; int8 values have a float32 scale."""
    return _VALUE_BYTES[value_dtype] * count + (4 if value_dtype == "int8" and count else 0)


def _mask_bytes(mask: Bool, known: Bool | None, version: int) -> int:
    """Return the bytes of a mask's section.

    A shared mask and a mask of all ones have 0 bytes. Other masks have the shortest of a bitmap, the gaps of the rarer
    entries and the changes of a known mask.
    """
    if mask.all() or (known is not None and np.array_equal(mask, known)):
        return 0
    width, bitmap = mask.size, (mask.size + 7) // 8
    if version == 1:
        kept = [-1, *np.flatnonzero(mask).tolist()]
        gaps = [b - a - 1 for a, b in pairwise(kept)]
        return min(bitmap, sum(max(1, -(-gap.bit_length() // 7)) for gap in gaps))
    own = _bits_bytes(mask, version)
    if known is None or known.size != width:
        return own
    num_known = int(known.sum())
    removed: list[int] = np.flatnonzero(~mask[known]).tolist()
    added: list[int] = np.flatnonzero(mask[~known]).tolist()
    if 2 * (len(removed) + len(added)) > min(num_known, width - num_known):
        return own
    changes = 4 + _count_bytes(width)
    return min(own, changes + _gaps_bytes(removed, num_known) + _gaps_bytes(added, width - num_known))


def _bits_bytes(bits: Bool, version: int) -> int:
    """Return the bytes of bits by themselves: a bitmap or, from version 2 on, the gaps of the rarer entries."""
    width, bitmap = bits.size, (bits.size + 7) // 8
    rarer: list[int] = np.flatnonzero(bits if 2 * bits.sum() <= width else ~bits).tolist()
    if version == 1 or 3 * len(rarer) > width:
        return bitmap
    return min(bitmap, _gaps_bytes(rarer, width))


def _gaps_bytes(positions: Sequence[int], width: int) -> int:
    """Return the bytes of a count and of the Golomb-Rice codes of the gaps between positions."""
    if not positions:
        return _count_bytes(width)
    low_bits = floor(log2((width - len(positions)) / len(positions) + 0.5))
    bits = sum(low_bits + 1 + ((b - a - 1) >> low_bits) for a, b in pairwise([-1, *positions]))
    return _count_bytes(width) + ceil(bits / 8)


def _count_bytes(width: int) -> int:
    return ceil(log2(width + 1) / 8)
