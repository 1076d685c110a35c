"""`decode` rejects every buffer that `encode` does not write, with WireError and with little memory."""

import struct
import tracemalloc
import zlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import WireError
from orchestrator.sparsity.gap_coding import encode_gaps
from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode, encode, section_bytes
from orchestrator.sparsity.wire_frame import MaskCoding, ValueDtype, WireVersion
from tests.support.masks import mask_of


def sealed(body: bytes) -> bytes:
    """A message with this body and a valid checksum."""
    return b"SFL\x02" + struct.pack("<I", zlib.crc32(b"SFL\x02" + body)) + body


def header(
    name: bytes,
    kind: int,
    coding: int,
    num_values: int = 0,
    width: int = 0,
    extra: int = 0,
    pad: bytes = b"\0",
) -> bytes:
    fields = struct.pack("<BBHIII", kind, coding, len(name), num_values, width, extra)
    return fields + name + pad * (-len(name) % 4)


def message(*headers: bytes, sections: bytes = b"", dtype: int = 0, reserved: int = 0) -> bytes:
    return sealed(struct.pack("<HBB", len(headers), dtype, reserved) + b"".join(headers) + sections)


SPARSE = mask_of(40, 2, 30)
#: the gaps 2 and 27 with 4 low bits each: 01 00 11 01, and the ends 1 01
GAPS = b"\x02\xb2\x05"
PAYLOAD: Payload = (
    Masked("sparse", np.array([1.0, 2.0, 3.0], np.float32), SPARSE),
    Masked("half", np.arange(6, dtype=np.float32), mask_of(11, 0, 2, 4, 6, 8, 10)),
    Masked("shared", np.arange(2, dtype=np.float32), mask_of(5, 1)),
    Dense("bias", np.array([0.5], np.float32)),
    Bits("grown", mask_of(3, 1)),
    Scalar("count", 7.0),
)
KNOWN = {"shared": mask_of(5, 1)}
BUFFER = encode(PAYLOAD, known_masks=KNOWN)


def test_crafted_messages_are_otherwise_valid() -> None:
    """The helpers write the same bytes as `encode`, so that each rejected message below has one cause."""
    crafted = message(header(b"sparse", 1, 5, 1, 40, 3), sections=struct.pack("<f", 1.0) + GAPS)
    with pytest.raises(WireError, match="2 entries for 1 values"):
        decode(crafted)
    crafted = message(header(b"sparse", 1, 5, 2, 40, 3), sections=struct.pack("<2f", 1, 2) + GAPS)
    assert crafted == encode((Masked("sparse", np.array([1, 2], np.float32), SPARSE),))


def test_bits_have_one_encoding() -> None:
    """Bits are coded as the gaps of a mask if these are shorter than the bitmap."""
    crafted = message(header(b"bits", 2, 5, 0, 40, 3), sections=GAPS)
    assert crafted == encode((Bits("bits", SPARSE),))
    bitmap = np.packbits(SPARSE, bitorder="little").tobytes()
    with pytest.raises(WireError, match="shortest coding of its bits"):
        decode(message(header(b"bits", 2, 3, 0, 40), sections=bitmap))
    with pytest.raises(WireError, match="contradictory"):
        decode(message(header(b"bits", 2, 2, 0, 40)))


def test_every_truncation_is_rejected() -> None:
    for length in range(1, len(BUFFER)):
        with pytest.raises(WireError):
            decode(BUFFER[:length], known_masks=KNOWN)
        with pytest.raises(WireError):
            section_bytes(BUFFER[:length])


def test_every_truncation_with_a_valid_checksum_is_rejected() -> None:
    for length in range(8, len(BUFFER)):
        with pytest.raises(WireError):
            decode(sealed(BUFFER[8:length]), known_masks=KNOWN)


def test_every_flipped_bit_is_rejected() -> None:
    for position in range(len(BUFFER)):
        for bit in range(8):
            damaged = bytearray(BUFFER)
            damaged[position] ^= 1 << bit
            with pytest.raises(WireError):
                decode(bytes(damaged), known_masks=KNOWN)


@pytest.mark.parametrize("garbage", [b"\0", b"garbage"])
def test_trailing_bytes_are_rejected(garbage: bytes) -> None:
    with pytest.raises(WireError):
        decode(BUFFER + garbage, known_masks=KNOWN)
    with pytest.raises(WireError, match="headers say"):
        decode(sealed(BUFFER[8:] + garbage), known_masks=KNOWN)


def check_canonical(buffer: bytes, known: dict[str, Bool]) -> None:
    """Check that `decode` rejects the buffer, or that the buffer is the encoding of the decoded payload."""
    try:
        payload = decode(buffer, known_masks=known, max_elements=10_000)
    except WireError:
        return
    value_dtype = get_args(ValueDtype)[buffer[10]]
    version: WireVersion = 1 if buffer[3] == 1 else 2
    rng = np.random.default_rng(0)
    assert encode(payload, value_dtype=value_dtype, known_masks=known, version=version, rng=rng) == buffer


def test_version_1_has_no_int8_values() -> None:
    payload = (Dense("d", np.ones(2, np.float32)),)
    with pytest.raises(WireError, match=r"wire\.version=2"):
        encode(payload, value_dtype="int8", version=1, rng=np.random.default_rng(0))
    body = encode(payload, value_dtype="int8", rng=np.random.default_rng(0))[8:]
    assert len(decode(sealed(body))[0].values) == 2  # type: ignore[union-attr]
    with pytest.raises(WireError, match="dtype 3"):
        decode(b"SFL\x01" + struct.pack("<I", zlib.crc32(body)) + body)


def test_int8_values_that_no_encoder_writes_are_rejected() -> None:
    """The last byte is the only value, whose integer must be 127 or -127."""
    buffer = encode((Dense("d", np.ones(1, np.float32)),), value_dtype="int8", rng=np.random.default_rng(0))
    assert buffer[-5:] == b"\x00\x00\x80\x3f\x7f"
    with pytest.raises(WireError, match="int8"):
        decode(sealed(buffer[8:-1] + b"\x7e"))


@given(st.binary(min_size=1, max_size=200))
def test_random_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)
    check_canonical(sealed(data), {})


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(8, len(BUFFER) - 1), st.integers(0, 255)), min_size=1, max_size=3),
    st.booleans(),
)
def test_changed_bytes_are_rejected_or_canonical(changes: list[tuple[int, int]], has_mask: bool) -> None:
    damaged = bytearray(BUFFER)
    for position, value in changes:
        damaged[position] = value
    check_canonical(sealed(bytes(damaged[8:])), KNOWN if has_mask else {})


@settings(max_examples=400)
@given(
    data=st.binary(max_size=8),
    width=st.integers(0, 70),
    coding=st.integers(0, 8),
    version=st.sampled_from([1, 2]),
    num=st.integers(0, 70),
)
def test_random_mask_sections_are_rejected_or_canonical(
    data: bytes, width: int, coding: int, version: int, num: int
) -> None:
    extra = len(data) if coding in (4, 5, 6, 7) else 0
    values = struct.pack(f"<{num}f", *range(num))
    crafted = message(header(b"m", 1, coding, num, width, extra), sections=values + data)
    check_canonical(crafted if version == 2 else of_version_1(crafted), {})


@pytest.mark.parametrize("width", [9, 24, 1000])
def test_full_mask_as_gaps_without_removed_entries_is_rejected(width: int) -> None:
    """The encoder writes the coding `full`."""
    section = encode_gaps(np.empty(0, np.int64), width).tobytes()
    coding = get_args(MaskCoding).index("false_gaps")
    crafted = message(
        header(b"m", 1, coding, width, width, len(section)), sections=bytes(4 * width) + section
    )
    with pytest.raises(WireError):
        decode(crafted)


ONE = struct.pack("<f", 1.0)


@pytest.mark.parametrize(
    ("buffer", "match"),
    [
        (b"S", "too few"),
        (message(), "the message has no items"),
        (np.empty(0, np.float64), "float64"),
        (b"PK\x03\x04" + BUFFER[4:], "not a Sparsefleet message"),
        (b"SFL\x03" + BUFFER[4:], "version 3"),
        (message(dtype=4), "message header"),
        (message(reserved=1), "message header"),
        (sealed(struct.pack("<HBB", 2, 0, 0) + header(b"d", 0, 0)), "within an item header"),
        (sealed(struct.pack("<HBB", 1, 0, 0) + header(b"name", 0, 0)[:-1]), "within an item name"),
        (message(header(b"d", 0, 0), header(b"d", 2, 3)), "two items have the name 'd'"),
        (message(header(b"\xff\xfe", 0, 0)), "UTF-8"),
        (message(header(b"\xed\xa0\x80", 0, 0)), "UTF-8"),
        (message(header(b"d", 0, 0, pad=b"x")), "not valid"),
        (message(header(b"d", 4, 0)), "kind 4"),
        (message(header(b"d", 0, 8)), "coding 8"),
        (message(header(b"d", 0, 2)), "contradictory"),
        (message(header(b"d", 0, 0, 1, width=1), sections=ONE), "contradictory"),
        (message(header(b"d", 0, 0, 1, extra=1), sections=ONE), "contradictory"),
        (message(header(b"m", 1, 0, 1, 1), sections=ONE), "contradictory"),
        (message(header(b"b", 2, 2, width=1)), "contradictory"),
        (message(header(b"b", 2, 3, 1, 1), sections=ONE + b"\1"), "contradictory"),
        (message(header(b"s", 3, 0, 2), sections=bytes(16)), "contradictory"),
        (message(header(b"s", 3, 0, 0)), "contradictory"),
        (message(header(b"m", 1, 3, 1, 9, 7), sections=ONE + b"\1\1"), "contradictory"),
        (message(header(b"m", 1, 2, 1, 2), sections=ONE), "contradictory"),
        (message(header(b"m", 1, 5, 2, 16, 2), sections=ONE + ONE + b"\1\1"), "contradictory"),
        (message(header(b"m", 1, 3, 1, 3), sections=ONE + b"\x09"), "beyond its 3 entries"),
        (message(header(b"b", 2, 3, width=3), sections=b"\x08"), "beyond its 3 entries"),
        (message(header(b"m", 1, 3, 1, 8), sections=ONE + b"\x03"), "2 entries for 1 values"),
        (message(header(b"m", 1, 3, 1, 24), sections=ONE + b"\0\1\0"), "not the shortest"),
        (message(header(b"m", 1, 3, 8, 8), sections=ONE * 8 + b"\xff"), "not the shortest"),
        (message(header(b"m", 1, 3, 0, 9), sections=b"\0\0"), "not the shortest"),
        (message(header(b"m", 1, 5, 1, 40, 1), sections=ONE + b"\x01"), "too short"),
        (message(header(b"m", 1, 5, 2, 40, 3), sections=ONE * 2 + b"\x02\xff\x06"), "beyond the 40 entries"),
        (
            message(header(b"m", 1, 6, 38, 40, 3), sections=ONE * 38 + b"\x02\xff\x06"),
            "beyond the 40 entries",
        ),
        (message(header(b"m", 1, 6, 2, 40, 3), sections=ONE * 2 + GAPS), "38 entries for 2 values"),
        (message(header(b"m", 1, 5, 19, 40, 4), sections=ONE * 19 + b"\x13\xff\xff\xff"), "instead of 19"),
        (message(header(b"m", 1, 1, 1, 5, 0), sections=ONE), "does not have"),
    ],
)
def test_invalid_message_is_rejected_with_its_cause(buffer: bytes, match: str) -> None:
    with pytest.raises(WireError, match=match):
        decode(buffer)


def of_version_1(buffer: bytes) -> bytes:
    """The message in format version 1, whose checksum does not cover the version."""
    return b"SFL\x01" + struct.pack("<I", zlib.crc32(buffer[8:])) + buffer[8:]


@pytest.mark.parametrize(
    ("buffer", "match"),
    [
        (message(header(b"m", 1, 5, 2, 40, 3), sections=ONE * 2 + GAPS), "contradictory"),
        (message(header(b"m", 1, 4, 1, 40, 1), sections=ONE + b"\x28"), "beyond the 40 entries"),
        (message(header(b"m", 1, 4, 2, 40, 2), sections=ONE + ONE + b"\x14\x13"), "beyond the 40 entries"),
        (message(header(b"m", 1, 4, 1, 400, 1), sections=ONE + b"\x80"), "ends within a number"),
        (message(header(b"m", 1, 4, 1, 400, 2), sections=ONE + b"\x83\x00"), "minimal varint"),
        (message(header(b"m", 1, 4, 1, 400, 6), sections=ONE + b"\x80" * 5 + b"\x01"), "minimal varint"),
    ],
)
def test_invalid_message_of_version_1_is_rejected_with_its_cause(buffer: bytes, match: str) -> None:
    with pytest.raises(WireError, match=match):
        decode(of_version_1(buffer))


def test_changed_version_is_rejected() -> None:
    one, two = (encode((Dense("d", np.ones(2, np.float32)),), version=version) for version in (1, 2))
    for buffer, version in ((one, b"\x02"), (two, b"\x01")):
        with pytest.raises(WireError, match="checksum"):
            decode(buffer[:3] + version + buffer[4:])


def test_message_of_version_2_has_no_indices() -> None:
    buffer = message(header(b"m", 1, 4, 1, 40, 1), sections=ONE + b"\x07")
    assert len(decode(of_version_1(buffer))) == 1
    with pytest.raises(WireError, match="contradictory"):
        decode(buffer)


def test_implicit_mask_needs_the_same_mask_at_the_receiver() -> None:
    item = Masked("m", np.ones(2, np.float32), mask_of(9, 1, 5))
    buffer = encode((item,), known_masks={"m": item.mask})
    for other in (mask_of(9, 1, 6), mask_of(10, 1, 5), mask_of(0)):
        with pytest.raises(WireError, match=r"'m'.*different masks"):
            decode(buffer, known_masks={"m": other})
    with pytest.raises(WireError, match=r"'m'.*does not have"):
        decode(buffer, known_masks={"other": item.mask})


@pytest.mark.parametrize("mask", [mask_of(9, 1, 5), mask_of(100, 7), np.ones(4, np.bool_)])
def test_shared_mask_must_be_implicit(mask: Bool) -> None:
    buffer = encode((Masked("m", np.ones(int(mask.sum()), np.float32), mask),))
    with pytest.raises(WireError, match=r"'m'.*same masks"):
        decode(buffer, known_masks={"m": mask})


@pytest.mark.parametrize("buffer", [np.zeros(20, np.float32), np.frombuffer(BUFFER, np.uint8)[::2]])
def test_arrays_that_are_not_bytes_are_rejected(buffer: np.ndarray) -> None:
    with pytest.raises(WireError, match="contiguous bytes"):
        decode(buffer)


@pytest.mark.parametrize(
    "buffer",
    [
        message(header(b"d", 0, 0, 2**32 - 1)),
        message(header(b"m", 1, 1, 0, 2**32 - 1)),
        message(header(b"m", 1, 2, 2**31, 2**31)),
        message(header(b"m", 1, 3, 0, 2**31 - 1)),
        message(header(b"m", 1, 5, 0, 2**31 + 1)),
        message(header(b"m", 1, 5, 0, 2**31 - 1, 2**27)),
        message(header(b"b", 2, 3, width=2**31 - 1)),
        message(header(b"a", 1, 4, 0, 2**30 + 1), header(b"b", 1, 4, 0, 2**30)),
        sealed(struct.pack("<HBB", 2**16 - 1, 0, 0)),
    ],
)
def test_large_sizes_are_rejected_before_memory_is_allocated(buffer: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode(buffer)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100_000


def test_max_elements_limits_the_sum_of_values_and_mask_entries() -> None:
    buffer = encode((Masked("m", np.ones(2, np.float32), mask_of(40, 3)), Dense("d", np.ones(8, np.float32))))
    assert len(decode(buffer, max_elements=50)) == 2
    with pytest.raises(WireError, match="50 elements; at most 49"):
        decode(buffer, max_elements=49)
