"""Encodes payloads as buffers with a checksum, without pickle. The lengths of these buffers are the counted bytes.

Format, version 2 (version 1 differs in the codings of masks and in the checksum). Integers are little-endian
and unsigned; W = entries of a mask, nnz = its True entries, U = values of entries that are not maskable, n = entries of
a vector.

    message = message header, item headers, value sections, mask sections (each kind in item order)

A payload without items has 0 bytes, without a message header.

    message header, 12 bytes
      0  3  magic "SFL"
      3  1  version, 1 or 2
      4  4  CRC-32 of bytes 0 to 3 and everything from byte 8 on (version 1: only from byte 8 on)
      8  2  number of items
     10  1  dtype of values: 0 float32, 1 float16, 2 bfloat16, 3 int8 (only version 2)
     11  1  0

    item header, 16 + 4 ceil(name bytes / 4) bytes
      0  1  kind: 0 dense, 1 masked, 2 bits, 3 scalar
      1  1  mask coding: 0 none, 1 implicit, 2 full, 3 bitmap, 4 indices, 5 gaps, 6 false_gaps,
              7 changes
      2  2  bytes of the name
      4  4  number of values: dense n, masked nnz + U, bits 0, scalar 1
      8  4  W (masked) or n (bits), else 0
     12  4  implicit: CRC-32 of the mask's bitmap; other codings except bitmap: bytes of the mask section; else 0
     16     the name in UTF-8, zero-padded to a multiple of 4 bytes

    value section: 4 (nnz + U) bytes of little-endian float32, or 2 (nnz + U) of float16 or bfloat16, or
                   4 + nnz + U of int8: the largest magnitude m as float32, and q in [-127, 127] for the value
                   m q / 127 (0 bytes for nnz + U = 0); a scalar is float64
    mask section, by coding:
      none        dense and scalar items have no mask
      implicit    0 bytes: sender and receiver have the mask under the item's name
      full        0 bytes: every entry is True
      bitmap      ceil(W / 8) bytes: entry i is bit i mod 8 of byte i // 8; bits beyond W are 0
      gaps        the positions of the True entries, as module `gap_coding` encodes them
      false_gaps  the positions of the False entries, likewise
      changes     the difference from the mask that the receiver has, as module `change_coding` encodes it

A mask that sender and receiver have is implicit. Otherwise a mask that is all True is full. Otherwise the gaps of the
rarer entries (True entries, if there are as many of both) are coded if these entries are at most a third of the mask
and their section is shorter than a bitmap. All other masks are bitmaps. If the receiver has another mask of the same
length under the item's name and the changes are still shorter, they are coded instead. A bits item is coded as a mask
by itself: gaps of the rarer entries, or a bitmap.

Version 1, in which runs of earlier releases resume, always codes bits items as bitmaps. For masks it has one coding
instead of gaps, false_gaps and changes:

      indices     per True entry the number of False entries since the previous True entry, as a minimal LEB128 varint;
                  used if it is shorter than a bitmap

For a given version and dtype and given known masks, a payload has exactly one encoding. int8 is an exception, because
it rounds values at random, but a decoded payload has one encoding with int8 too. `decode` rejects every other buffer,
so sender and receiver must pass the same `known_masks`. With float32 values, every header and value section starts at a
multiple of 4 and is decoded without a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from orchestrator.errors import WireError
from orchestrator.sparsity.mask_coding import (
    NO_BYTES,
    decode_bits,
    decode_masked,
    encode_bits,
    encode_mask,
)
from orchestrator.sparsity.payload import Bits, Bool, Dense, Item, Masked, Payload, Scalar
from orchestrator.sparsity.value_coding import (
    check_vector,
    decode_scalar,
    decode_values,
    encode_scalar,
    encode_values,
)
from orchestrator.sparsity.wire_frame import (
    MESSAGE_HEADER_BYTES,
    Buffer,
    Bytes,
    Frame,
    ItemHeader,
    MaskCoding,
    ValueDtype,
    WireVersion,
    item_header_bytes,
    pack_frame,
    parse_frame,
)


@dataclass(frozen=True, slots=True)
class ItemSections:
    """The bytes of one encoded item, by section."""

    name: str
    header_bytes: int
    mask_bytes: int
    value_bytes: int
    mask_coding: MaskCoding


def header_bytes(payload: Payload) -> int:
    """Return the bytes of all headers of a payload: 12 + the sum over items of 16 + 4 ceil(name bytes / 4)."""
    if not payload:
        return 0
    return MESSAGE_HEADER_BYTES + sum(item_header_bytes(item.name) for item in payload)


def section_bytes(buffer: Buffer) -> tuple[ItemSections, ...]:
    """Return the bytes by item and section; 12 + their sum is the length of the buffer.

    The function reads and checks headers only. Raises WireError when a header is not valid, and when the headers do not
    add up to the length of the buffer.
    """
    frame = parse_frame(buffer, verify_checksum=False)
    return tuple(
        ItemSections(
            h.name, item_header_bytes(h.name), h.mask_bytes, h.value_bytes(frame.value_dtype), h.coding
        )
        for h in frame.headers
    )


def encode(
    payload: Payload,
    *,
    value_dtype: ValueDtype = "float32",
    known_masks: Mapping[str, Bool] | None = None,
    version: WireVersion = 2,
    rng: np.random.Generator | None = None,
) -> bytes:
    """Encode a payload; `known_masks` are the masks (bool[W], by item name) that the receiver already has.

    float16, bfloat16 and int8 apply to vectors only; scalars are float64. float16 and bfloat16 round to nearest even,
    int8 rounds with the random numbers of `rng`, which it needs. NaN and infinities are allowed, except with int8.

    Raises WireError for duplicate names, arrays of another dtype or rank, a mask with more True entries than values,
    a value beyond the range of the dtype, and int8 in version 1.
    """
    if not payload:
        return b""
    known = known_masks or {}
    headers: list[ItemHeader] = []
    values: list[Bytes] = []
    masks: list[Bytes] = []
    for item in payload:
        header, value_section, mask_section = _encode_item(
            item, value_dtype, known.get(item.name), version, rng
        )
        headers.append(header)
        values.append(value_section)
        masks.append(mask_section)
    return pack_frame(headers, value_dtype, values + masks, version)


def decode(
    buffer: Buffer,
    *,
    known_masks: Mapping[str, Bool] | None = None,
    max_elements: int = 2**31,
    value_dtype: ValueDtype | None = None,
    version: WireVersion | None = None,
) -> Payload:
    """Decode a buffer into a payload.

    All arrays are read-only. float32 values are views of an aligned buffer; other values are converted to float32.
    `known_masks` must be equal to the sender's. `max_elements` limits the number of values and mask entries of the
    whole message. The function checks this limit and the length of the buffer before it allocates memory.
    `value_dtype` and `version` are those that the sender must use; None accepts all.

    Raises WireError, and no other error, for a buffer that `encode` does not write with these arguments.
    """
    known = known_masks or {}
    frame = parse_frame(
        buffer, max_elements=max_elements, required_dtype=value_dtype, required_version=version
    )
    return tuple(
        _decode_item(header, value_section, mask_section, frame, known.get(header.name))
        for header, value_section, mask_section in frame.sections()
    )


def _encode_item(
    item: Item,
    value_dtype: ValueDtype,
    known: Bool | None,
    version: WireVersion,
    rng: np.random.Generator | None,
) -> tuple[ItemHeader, Bytes, Bytes]:
    """Return header, value section and mask section."""
    name = item.name
    match item:
        case Dense():
            values = encode_values(name, item.values, value_dtype, rng)
            return ItemHeader(name, "dense", "none", item.values.size), values, NO_BYTES
        case Masked():
            check_vector(name, item.mask, np.bool_)
            values = encode_values(name, item.values, value_dtype, rng)
            if item.num_kept > item.values.size:
                raise WireError(
                    f"item {name!r}: a mask of {item.num_kept} entries for {item.values.size} values"
                )
            coding, extra, section = encode_mask(item, known, version)
            header = ItemHeader(name, "masked", coding, item.values.size, item.width, extra)
            return header, values, section
        case Bits():
            check_vector(name, item.bits, np.bool_)
            coding, section = encode_bits(item.bits, version)
            extra = 0 if coding == "bitmap" else section.size
            return ItemHeader(name, "bits", coding, 0, item.bits.size, extra), NO_BYTES, section
        case Scalar():
            return ItemHeader(name, "scalar", "none", 1), encode_scalar(item.value), NO_BYTES
        case _:
            assert_never(item)


def _decode_item(
    header: ItemHeader, value_section: Bytes, mask_section: Bytes, frame: Frame, known: Bool | None
) -> Item:
    value_dtype = frame.value_dtype
    match header.kind:
        case "dense":
            return Dense(header.name, decode_values(value_section, value_dtype))
        case "masked":
            return decode_masked(
                header, decode_values(value_section, value_dtype), mask_section, known, frame.version
            )
        case "bits":
            return Bits(header.name, decode_bits(header, mask_section, frame.version))
        case "scalar":
            return Scalar(header.name, decode_scalar(value_section))
        case _:
            assert_never(header.kind)
