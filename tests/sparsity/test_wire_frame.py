"""The frame of a message: sizes by hand, a round trip of headers and sections, and headers that are rejected."""

import numpy as np
import pytest

from orchestrator.errors import WireError
from orchestrator.sparsity.wire_frame import (
    MESSAGE_HEADER_BYTES,
    Bytes,
    ItemHeader,
    bitmap_bytes,
    item_header_bytes,
    pack_frame,
    parse_frame,
)

HEADERS = (
    ItemHeader("w", "masked", "bitmap", num_values=3, width=10),
    ItemHeader("loss", "scalar", "none", num_values=1),
    ItemHeader("gaps", "masked", "gaps", num_values=2, width=80, extra=2),
)


def _numbered(*sizes: int) -> list[Bytes]:
    """Sections of these sizes; section i is filled with i."""
    return [np.full(size, number, np.uint8) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(("width", "num_bytes"), [(0, 0), (1, 1), (8, 1), (9, 2), (33_800, 4_225)])
def test_bitmap_has_a_bit_for_each_entry(width: int, num_bytes: int) -> None:
    assert bitmap_bytes(width) == num_bytes


@pytest.mark.parametrize(("name", "num_bytes"), [("", 16), ("a", 20), ("four", 20), ("theta", 24), ("ü", 20)])
def test_item_header_has_16_bytes_and_the_padded_name(name: str, num_bytes: int) -> None:
    assert item_header_bytes(name) == num_bytes


def test_bytes_of_values_and_masks_by_kind_and_coding() -> None:
    masked, scalar, gaps = HEADERS
    assert (masked.value_bytes("float32"), masked.value_bytes("float16"), masked.mask_bytes) == (12, 6, 2)
    assert (scalar.value_bytes("float32"), scalar.value_bytes("float16"), scalar.mask_bytes) == (8, 8, 0)
    assert (gaps.value_bytes("float16"), gaps.mask_bytes) == (4, 2)
    assert ItemHeader("w", "masked", "implicit", 3, 10, extra=7).mask_bytes == 0


def test_sections_come_back_in_the_order_of_the_items() -> None:
    """All values precede all masks: 6, 8 and 4 bytes of values, then 2 and 2 bytes of masks."""
    message = pack_frame(HEADERS, "float16", _numbered(6, 8, 4, 2, 2))
    sizes = MESSAGE_HEADER_BYTES + sum(item_header_bytes(h.name) for h in HEADERS) + 6 + 8 + 4 + 2 + 2
    assert len(message) == sizes
    frame = parse_frame(message)
    assert (frame.value_dtype, frame.headers) == ("float16", HEADERS)
    found = [(h.name, values.tolist(), mask.tolist()) for h, values, mask in frame.sections()]
    assert found == [("w", [0] * 6, [3] * 2), ("loss", [1] * 8, []), ("gaps", [2] * 4, [4] * 2)]
    assert not frame.body.flags.writeable


def test_empty_buffer_is_a_frame_without_items() -> None:
    frame = parse_frame(b"")
    assert frame.headers == ()
    assert list(frame.sections()) == []


@pytest.mark.parametrize(
    "headers",
    [
        (HEADERS[1], HEADERS[1]),
        (ItemHeader("x" * 2**16, "scalar", "none", 1),),
        (ItemHeader("\ud800", "scalar", "none", 1),),
        (ItemHeader("w", "dense", "none", 2**32),),
    ],
    ids=["same name", "long name", "no UTF-8", "too many values"],
)
def test_headers_that_cannot_be_encoded_are_rejected(headers: tuple[ItemHeader, ...]) -> None:
    with pytest.raises(WireError):
        pack_frame(headers, "float32", [])


def test_checksum_is_verified_unless_switched_off() -> None:
    message = bytearray(pack_frame((HEADERS[1],), "float32", _numbered(8)))
    message[-1] ^= 1
    with pytest.raises(WireError, match="checksum"):
        parse_frame(bytes(message))
    assert parse_frame(bytes(message), verify_checksum=False).headers == (HEADERS[1],)


def test_other_dtype_and_version_than_the_required_ones_are_rejected() -> None:
    message = pack_frame((HEADERS[0],), "float16", _numbered(6, 2), 1)
    assert parse_frame(message, required_dtype="float16", required_version=1).headers == HEADERS[:1]
    with pytest.raises(WireError, match="float16, expected float32"):
        parse_frame(message, required_dtype="float32")
    with pytest.raises(WireError, match="version 1, expected 2"):
        parse_frame(message, required_version=2)


def test_elements_are_values_and_mask_entries() -> None:
    """3 + 10 elements in the first item, 1 in the second and 2 + 80 in the third: 96."""
    message = pack_frame(HEADERS, "float32", _numbered(12, 8, 8, 2, 2))
    assert parse_frame(message, max_elements=96).headers == HEADERS
    with pytest.raises(WireError):
        parse_frame(message, max_elements=95)
