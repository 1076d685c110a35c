"""Encodes and decodes masks and bits: with no bytes, as a bitmap, as gaps between the rarer entries, or as changes.

Legend: W = entries of the mask. Module `wire` describes the codings and the choice between them.
"""

import numpy as np

from orchestrator.errors import WireError
from orchestrator.sparsity.change_coding import decode_changes, encode_changes, mask_checksum
from orchestrator.sparsity.gap_coding import decode_gaps, encode_gaps
from orchestrator.sparsity.payload import Bool, Float32, Index, Masked
from orchestrator.sparsity.varint_coding import decode_varints, encode_varints, varint_lengths
from orchestrator.sparsity.wire_frame import Bytes, ItemHeader, MaskCoding, WireVersion, bitmap_bytes

NO_BYTES: Bytes = np.empty(0, np.uint8)
_NO_VALUES: Float32 = np.empty(0, np.float32)


def encode_mask(item: Masked, known: Bool | None, version: WireVersion = 2) -> tuple[MaskCoding, int, Bytes]:
    """Return coding, `extra` header field and section of an item's mask.

    `known` is the mask that the receiver already has (None: it has none).
    """
    if known is not None and item.has_mask(known):
        return "implicit", mask_checksum(known), NO_BYTES
    if item.num_kept == item.width:
        return "full", 0, NO_BYTES
    coding, section = _own_coding(item, version)
    if known is not None and (changes := _short_changes(item, known, version, section.size)) is not None:
        coding, section = "changes", changes
    return coding, 0 if coding == "bitmap" else section.size, section


def decode_masked(
    header: ItemHeader, values: Float32, section: Bytes, known: Bool | None, version: WireVersion = 2
) -> Masked:
    """Return a masked item with these values. Its mask is read-only. From gaps, it gets its positions without a mask.

    Raises WireError for a section that `encode_mask` does not write, and for a checksum of another mask than `known`.
    """
    item = _read_mask(header, values, section, known)
    num_kept = item.num_kept
    if num_kept > header.num_values:
        raise WireError(f"item {header.name!r}: a mask of {num_kept} entries for {header.num_values} values")
    if header.coding == "false_gaps" and num_kept == header.width:
        raise WireError(f"item {header.name!r}: a mask that is all True is coded as gaps, not as full")
    if header.coding in ("bitmap", "changes") and not _is_shortest(
        item, header.coding, section.size, version
    ):
        raise WireError(
            f"item {header.name!r}: a {header.coding} section is not the shortest coding of its mask"
        )
    if header.coding != "implicit" and known is not None and item.has_mask(known):
        raise WireError(
            f"item {header.name!r}: the sender sent a mask that the receiver already has; pass the same masks to "
            "sender and receiver"
        )
    if (
        header.coding not in ("implicit", "full", "changes")
        and known is not None
        and _short_changes(item, known, version, section.size) is not None
    ):
        raise WireError(f"item {header.name!r}: the changes of the known mask would be shorter than the mask")
    return item


def encode_bits(bits: Bool, version: WireVersion = 2) -> tuple[MaskCoding, Bytes]:
    """Return coding and section of a vector of bits, bool[n]: the gaps of its rarer entries, or a bitmap."""
    if version == 1:
        return "bitmap", encode_bitmap(bits)
    return _own_coding(Masked("", _NO_VALUES, bits), version)


def decode_bits(header: ItemHeader, section: Bytes, version: WireVersion = 2) -> Bool:
    """Return the bits of an item, bool[n], read-only.

    Raises WireError for a section that `encode_bits` does not write.
    """
    bits = _read_mask(header, _NO_VALUES, section, None).mask
    if encode_bits(bits, version)[0] != header.coding:
        raise WireError(
            f"item {header.name!r}: a {header.coding} section is not the shortest coding of its bits"
        )
    return bits


def _is_shortest(item: Masked, coding: MaskCoding, num_bytes: int, version: WireVersion) -> bool:
    """Whether a mask that is not known is best coded as a bitmap, or as changes of this length."""
    if item.num_kept == item.width:
        return False
    own, section = _own_coding(item, version)
    return own == "bitmap" if coding == "bitmap" else num_bytes < section.size


def _own_coding(item: Masked, version: WireVersion) -> tuple[MaskCoding, Bytes]:
    """Return coding and section of a mask by itself, without a known mask."""
    coding, section = _short_gaps(item, version)
    return ("bitmap", encode_bitmap(item.mask)) if section is None else (coding, section)


def _short_changes(item: Masked, known: Bool, version: WireVersion, limit: int) -> Bytes | None:
    """Return the section of the changes of `known`; None if it would not be shorter than `limit`."""
    section = None if version == 1 else encode_changes(item, known)
    return None if section is None or section.size >= limit else section


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
        case "indices":
            return Masked.from_indices(header.name, values, _read_indices(header, section), header.width)
        case "gaps":
            return Masked.from_indices(header.name, values, _read_gaps(header, section), header.width)
        case "changes":
            if known is None or known.size != header.width:
                raise WireError(f"item {header.name!r}: the receiver does not have the mask that has changed")
            mask = decode_changes(header.name, section, known)
        case _:
            mask = np.ones(header.width, np.bool_)
            mask[_read_gaps(header, section)] = False
    mask.flags.writeable = False
    return Masked(header.name, values, mask)


def encode_bitmap(bits: Bool) -> Bytes:
    """Encode bool[n] as uint8[ceil(n / 8)], with the first entry in the lowest bit."""
    return np.packbits(bits, bitorder="little")


def decode_bitmap(header: ItemHeader, section: Bytes) -> Bool:
    """Decode the entries of a bitmap section, bool[W]. Raises WireError when a bit beyond W is set."""
    unused = -header.width % 8
    if unused and section[-1] >> (8 - unused):
        raise WireError(f"item {header.name!r}: the bitmap has bits beyond its {header.width} entries")
    return np.unpackbits(section, count=header.width, bitorder="little").view(np.bool_)


def _short_gaps(item: Masked, version: WireVersion) -> tuple[MaskCoding, Bytes | None]:
    """Return coding and section of the gaps of the rarer entries (None: they would not be shorter than a bitmap)."""
    limit = bitmap_bytes(item.width)
    if version == 1:
        return "indices", _short_varints(item, limit)
    num_rarer = min(item.num_kept, item.width - item.num_kept)
    if 3 * num_rarer > item.width:
        return "bitmap", None
    is_sparse = item.num_kept == num_rarer
    section = encode_gaps(item.indices if is_sparse else np.flatnonzero(~item.mask), item.width)
    return "gaps" if is_sparse else "false_gaps", section if section.size < limit else None


def _short_varints(item: Masked, limit: int) -> Bytes | None:
    """Return the section of format version 1; None if it would not be shorter than `limit`."""
    if item.num_kept >= limit:
        return None
    gaps = np.diff(item.indices, prepend=-1) - 1
    return encode_varints(gaps) if int(varint_lengths(gaps).sum()) < limit else None


def _read_indices(header: ItemHeader, section: Bytes) -> Index:
    gaps = decode_varints(header.name, section)
    indices = np.cumsum(gaps + 1) - 1
    if gaps.size and (gaps.max() >= header.width or indices[-1] >= header.width):
        raise WireError(f"item {header.name!r}: an index beyond the {header.width} entries of the mask")
    return indices


def _read_gaps(header: ItemHeader, section: Bytes) -> Index:
    indices = decode_gaps(header.name, section, header.width)
    if 3 * indices.size > header.width:
        raise WireError(
            f"item {header.name!r}: gaps are not the coding of a mask with {indices.size} entries"
        )
    return indices
