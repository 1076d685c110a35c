"""Decodes a slice of every item of an encoded payload: its values at a known offset, its mask by counts of bits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Bits, Bool, Dense, Item, Masked, Payload, Scalar
from orchestrator.sparsity.slicing.mask_slices import decode_mask_slice
from orchestrator.sparsity.value_coding import decode_part, decode_scalar
from orchestrator.sparsity.wire_frame import Buffer, Bytes, Frame, ItemHeader, parse_frame


@dataclass(frozen=True, slots=True)
class VectorSlice:
    """The entries [start, stop) of a vector; [mask_start, mask_stop) are its maskable entries among them.

    All entries of a vector are maskable, except those that a model always sends.
    """

    start: int
    stop: int
    mask_start: int
    mask_stop: int

    @classmethod
    def of(cls, start: int, stop: int) -> "VectorSlice":
        """Return the slice of a vector whose entries are all maskable."""
        return cls(start, stop, start, stop)

    @property
    def num_dense(self) -> int:
        """Number of entries that are not maskable."""
        return (self.stop - self.start) - (self.mask_stop - self.mask_start)

    @property
    def num_dense_before(self) -> int:
        """Number of entries before the slice that are not maskable."""
        return self.start - self.mask_start


def decode_slice(
    buffer: Buffer, known_masks: Mapping[str, Bool], slice_of: Callable[[str, int], VectorSlice]
) -> Payload:
    """Decode a slice of each item of a payload that `wire.decode` accepts with the same `known_masks`.

    `slice_of` gives the slice of an item, from its name and the number of its values (of a masked item, and of bits:
    the number of its bits). Scalars are returned whole. The checksum is not verified.
    """
    frame = parse_frame(buffer, verify_checksum=False)
    return tuple(
        _decode_item(header, values, mask, frame, known_masks.get(header.name), slice_of)
        for header, values, mask in frame.sections()
    )


def _decode_item(
    header: ItemHeader,
    values: Bytes,
    mask: Bytes,
    frame: Frame,
    known: Bool | None,
    slice_of: Callable[[str, int], VectorSlice],
) -> Item:
    name = header.name
    if header.kind == "scalar":
        return Scalar(name, decode_scalar(values))
    part = slice_of(name, header.num_values if header.kind == "dense" else header.width)
    if header.kind == "bits":
        bits = np.zeros(part.stop - part.start, np.bool_)
        bits[decode_mask_slice(header, mask, None, part.start, part.stop)[1]] = True
        return Bits(name, bits)
    if header.kind == "dense":
        return Dense(name, decode_part(values, frame.value_dtype, part.start, part.stop))
    num_before, indices = decode_mask_slice(header, mask, known, part.mask_start, part.mask_stop)
    first = num_before + part.num_dense_before
    last = first + indices.size + part.num_dense
    if last > header.num_values:
        raise WireError(f"item {name!r}: its {header.num_values} values do not fit its mask")
    kept = decode_part(values, frame.value_dtype, first, last)
    return Masked.from_indices(name, kept, indices, part.mask_stop - part.mask_start)
