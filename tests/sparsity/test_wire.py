"""Encoding: golden bytes, lengths by formula, round trips, and payloads that cannot be encoded."""

import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Bits, Bool, Dense, Float32, Item, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode, encode, header_bytes, section_bytes
from orchestrator.sparsity.wire_frame import ValueDtype
from tests.support.masks import mask_of

FLOAT32 = np.float32


def contents(item: Item) -> tuple[object, ...]:
    """The content of an item in a form that is comparable with NaN values."""
    match item:
        case Dense(name, values):
            return "dense", name, values.dtype.str, values.tobytes()
        case Masked(name, values, mask):
            return "masked", name, values.dtype.str, values.tobytes(), mask.dtype.str, mask.tobytes()
        case Bits(name, bits):
            return "bits", name, bits.dtype.str, bits.tobytes()
        case Scalar(name, value):
            return "scalar", name, struct.pack("<d", value)


def rounded(item: Item, value_dtype: ValueDtype) -> Item:
    """The item with values rounded to float16 or bfloat16."""
    if isinstance(item, Dense | Masked):
        if value_dtype == "float16":
            with np.errstate(all="ignore"):
                values = item.values.astype(np.float16).astype(FLOAT32)
        else:
            values = torch.from_numpy(item.values).to(torch.bfloat16).to(torch.float32).numpy()
            upper = (item.values.view(np.uint32) & 0xFFFF0000).view(FLOAT32)
            values = np.where(np.isnan(upper), upper, values)  # torch has one NaN
        return Dense(item.name, values) if isinstance(item, Dense) else Masked(item.name, values, item.mask)
    return item


def masked(name: str, mask: Bool, num_dense: int = 0) -> Masked:
    values = np.arange(int(mask.sum()) + num_dense, dtype=FLOAT32)
    return Masked(name, values, mask)


@st.composite
def masked_items(draw: st.DrawFn, name: str) -> Masked:
    width = draw(st.integers(0, 70) | st.integers(300, 900))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random(width) < draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.99, 1.0]))
    values = draw(st.integers(0, 3)) + int(mask.sum())
    return Masked(name, rng.standard_normal(values).astype(FLOAT32), mask)


HALF_FLOATS = st.floats(width=32, min_value=-65504, max_value=65504) | st.sampled_from(
    [np.nan, np.inf, -np.inf]
)


@st.composite
def items(draw: st.DrawFn, name: str) -> Item:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return Dense(name, draw(hnp.arrays(FLOAT32, st.integers(0, 20), elements=HALF_FLOATS)))
    if kind == 1:
        return draw(masked_items(name))
    if kind == 2:
        return Bits(name, draw(hnp.arrays(np.bool_, st.integers(0, 40))))
    return Scalar(name, draw(st.floats()))


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    names = draw(st.lists(st.text(max_size=6), max_size=4, unique=True))
    return tuple(draw(items(name)) for name in names)


def test_golden_bytes() -> None:
    """All bytes of a message."""
    mask = mask_of(10, 1, 8)
    payload = (
        Masked("model", np.array([1.0, -2.0, 0.5], FLOAT32), mask),
        Bits("grown", np.array([True, False, True])),
        Scalar("n", 40.0),
    )
    body = bytes.fromhex(
        "0300 00 00"  # three items, float32
        "01 03 0500 03000000 0a000000 00000000 6d6f64656c000000"  # masked, bitmap, 3 values, W = 10, "model"
        "02 03 0500 00000000 03000000 00000000 67726f776e000000"  # bits, bitmap, n = 3, "grown"
        "03 00 0100 01000000 00000000 00000000 6e000000"  # scalar, "n"
        "0000803f 000000c0 0000003f"  # 1, -2, 0.5
        "0000000000004440"  # 40
        "0201"  # entries 1 and 8
        "05"  # entries 0 and 2
    )
    assert encode(payload) == b"SFL\x02" + struct.pack("<I", zlib.crc32(b"SFL\x02" + body)) + body


def test_golden_gaps_section() -> None:
    """The gaps 3, 0, 127, 128 and 300 have 8 low bits each. The count takes 2 bytes and the 46 bits take 6.

    Bits 7 to 0 of the gaps: 00010 00100 00101 00100 00101 00101 10100 10100; the ends: 1 1 1 1 01.
    """
    mask = mask_of(2000, 3, 4, 132, 261, 562)
    buffer = encode((masked("m", mask),))
    assert buffer[-8:] == bytes.fromhex("0500 88 50 42 69 29 2f")
    (sections,) = section_bytes(buffer)
    assert (sections.mask_coding, sections.mask_bytes, sections.value_bytes) == ("gaps", 8, 20)


def test_golden_index_section_of_version_1() -> None:
    """The gaps 3, 0, 127, 128, 300 take seven bytes. A bitmap would take 250."""
    mask = mask_of(2000, 3, 4, 132, 261, 562)
    buffer = encode((masked("m", mask),), version=1)
    assert buffer[3] == 1
    assert buffer[-7:] == bytes.fromhex("03 00 7f 8001 ac02")
    (sections,) = section_bytes(buffer)
    assert (sections.mask_coding, sections.mask_bytes, sections.value_bytes) == ("indices", 7, 20)
    assert contents(decode(buffer)[0]) == contents(masked("m", mask))


@pytest.mark.parametrize("value_dtype", ["float32", "float16", "bfloat16"])
def test_payload_without_items_has_no_bytes(value_dtype: ValueDtype) -> None:
    assert encode((), value_dtype=value_dtype) == b""
    assert decode(b"") == decode(np.empty(0, np.uint8)) == ()
    assert section_bytes(b"") == ()
    assert header_bytes(()) == 0


@pytest.mark.parametrize("value_dtype", ["float32", "float16", "bfloat16"])
@given(payload=payloads())
def test_round_trip(payload: Payload, value_dtype: ValueDtype) -> None:
    assert encode(decode(encode(payload, version=1)), version=1) == encode(payload, version=1)
    buffer = encode(payload, value_dtype=value_dtype)
    decoded = decode(buffer)
    expected = payload if value_dtype == "float32" else tuple(rounded(item, value_dtype) for item in payload)
    assert list(map(contents, decoded)) == list(map(contents, expected))
    assert encode(decoded, value_dtype=value_dtype) == buffer


@given(payload=payloads(), seed=st.integers(0, 9))
def test_round_trip_of_int8(payload: Payload, seed: int) -> None:
    """Values are within a step of the scale, and a decoded payload has one encoding."""
    finite = tuple(item for item in payload if all(np.isfinite(vector).all() for vector in values_of(item)))
    buffer = encode(finite, value_dtype="int8", rng=np.random.default_rng(seed))
    decoded = decode(buffer)
    assert encode(decoded, value_dtype="int8", rng=np.random.default_rng(seed + 1)) == buffer
    for sent, found in zip(finite, decoded, strict=True):
        for before, after in zip(values_of(sent), values_of(found), strict=True):
            step = float(np.abs(before).max(initial=0.0)) / 127
            assert np.abs(after.astype(np.float64) - before).max(initial=0.0) <= max(1.001 * step, 2.0**-100)


def values_of(item: Item) -> list[Float32]:
    """The vectors of an item that int8 encodes."""
    return [item.values] if isinstance(item, Dense | Masked) else []


@given(payload=payloads(), flips=st.lists(st.booleans(), min_size=4, max_size=4))
def test_round_trip_with_known_masks(payload: Payload, flips: list[bool]) -> None:
    """The receiver has some masks, and other versions of other masks."""
    known = {
        item.name: np.roll(item.mask, int(flip))
        for item, flip in zip(payload, flips, strict=False)
        if isinstance(item, Masked)
    }
    buffer = encode(payload, known_masks=known)
    decoded = decode(buffer, known_masks=known)
    assert list(map(contents, decoded)) == list(map(contents, payload))
    assert encode(decoded, known_masks=known) == buffer
    for item, sections in zip(payload, section_bytes(buffer), strict=True):
        implicit = isinstance(item, Masked) and np.array_equal(item.mask, known[item.name])
        assert (sections.mask_coding == "implicit") == implicit


@given(payload=payloads())
def test_total_is_the_documented_header_and_the_sections(payload: Payload) -> None:
    for value_dtype, size in (("float32", 4), ("float16", 2), ("bfloat16", 2)):
        buffer = encode(payload, value_dtype=value_dtype)
        sections = section_bytes(buffer)
        prefix = 12 if payload else 0
        headers = prefix + sum(16 + 4 * ((len(item.name.encode()) + 3) // 4) for item in payload)
        assert header_bytes(payload) == headers == prefix + sum(s.header_bytes for s in sections)
        assert len(buffer) == headers + sum(s.mask_bytes + s.value_bytes for s in sections)
        for item, section in zip(payload, sections, strict=True):
            assert section.name == item.name
            match item:
                case Dense(values=values):
                    assert (section.value_bytes, section.mask_bytes) == (size * len(values), 0)
                case Masked(values=values, mask=mask):
                    assert section.value_bytes == size * len(values)
                    assert section.mask_bytes <= (len(mask) + 7) // 8
                case Bits(bits=bits):
                    assert section.value_bytes == 0
                    assert section.mask_bytes <= (len(bits) + 7) // 8
                case Scalar():
                    assert (section.value_bytes, section.mask_bytes) == (8, 0)


@pytest.mark.parametrize(
    ("num_kept", "num_weights", "num_biases", "value_bytes", "low_bits"),
    [
        (52365, 261750, 90, 209820, 2),
        (156399, 781770, 236, 626540, 2),
        (391543, 782850, 242, 1567140, None),
    ],
)
def test_bytes_of_feddst_networks(
    num_kept: int, num_weights: int, num_biases: int, value_bytes: int, low_bits: int | None
) -> None:
    """4 (nnz + U) for the values (FedDST, arXiv 2112.09824).

    At density 0.5 the mask has ceil(W / 8) bytes. At 0.2 the mean gap is 4, so that a gap g has 3 + g // 4 bits, and
    the number of gaps has 3 bytes.
    """
    mask = np.random.default_rng(0).permutation(num_weights) < num_kept
    payload = (masked("model", mask, num_biases),)
    (explicit,) = section_bytes(encode(payload))
    (implicit,) = section_bytes(encode(payload, known_masks={"model": mask}))
    mask_bytes = -(-num_weights // 8)
    if low_bits is not None:
        gaps = np.diff(np.flatnonzero(mask), prepend=-1) - 1
        mask_bytes = 3 + -(-int(sum(1 + low_bits + g // 2**low_bits for g in gaps)) // 8)
    assert (explicit.value_bytes, explicit.mask_bytes) == (value_bytes, mask_bytes)
    assert explicit.mask_coding == ("bitmap" if low_bits is None else "gaps")
    assert (implicit.value_bytes, implicit.mask_bytes, implicit.mask_coding) == (value_bytes, 0, "implicit")


@pytest.mark.parametrize(
    ("mask", "coding", "mask_bytes"),
    [
        (mask_of(0), "full", 0),
        (np.ones(9, np.bool_), "full", 0),
        (mask_of(9), "gaps", 1),
        (mask_of(9, 0), "bitmap", 2),
        (mask_of(8, 7), "bitmap", 1),
        (mask_of(17, 0), "gaps", 2),
        (mask_of(17, 0, 16), "bitmap", 3),
        (~mask_of(17, 0), "false_gaps", 2),
        (mask_of(129, 128), "gaps", 3),
        (mask_of(2**21 + 1, 2**21), "gaps", 6),
    ],
)
def test_shortest_mask_coding_is_used(mask: Bool, coding: str, mask_bytes: int) -> None:
    item = masked("m", mask, num_dense=2)
    buffer = encode((item,))
    (sections,) = section_bytes(buffer)
    assert (sections.mask_coding, sections.mask_bytes) == (coding, mask_bytes)
    assert contents(decode(buffer)[0]) == contents(item)


def test_full_mask_that_is_known_is_implicit() -> None:
    mask = np.ones(5, np.bool_)
    (sections,) = section_bytes(encode((masked("m", mask),), known_masks={"m": mask}))
    assert sections.mask_coding == "implicit"


def test_float16_rounds_to_nearest_even() -> None:
    """Between 2048 and 4096, float16 represents even numbers only."""
    values = np.array([2049.0, 2051.0, 65519.0, 1e-9, -0.0, np.nan, -np.inf], FLOAT32)
    (item,) = decode(encode((Dense("v", values),), value_dtype="float16"))
    assert isinstance(item, Dense)
    assert item.values.dtype == FLOAT32
    assert item.values.tobytes() == np.array([2048, 2052, 65504, 0, -0.0, np.nan, -np.inf], FLOAT32).tobytes()


def test_every_float16_pattern_survives_a_round_trip() -> None:
    patterns = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(FLOAT32)
    buffer = encode((Dense("v", patterns),), value_dtype="float16")
    assert encode(decode(buffer), value_dtype="float16") == buffer


def test_scalars_are_float64() -> None:
    assert decode(encode((Scalar("s", 1 / 3),), value_dtype="float16")) == (Scalar("s", 1 / 3),)


@pytest.mark.parametrize("value", [65520.0, -65520.0, 3e38])
def test_float16_overflow_is_rejected_with_item_and_key(value: float) -> None:
    item = Dense("layer.weight", np.array([0.0, value], FLOAT32))
    with pytest.raises(WireError, match=r"'layer\.weight'.*wire\.value_dtype"):
        encode((item,), value_dtype="float16")


def test_float32_values_are_read_only_views_of_the_buffer() -> None:
    payload = (
        Dense("a name", np.arange(5, dtype=FLOAT32)),
        Masked("another", np.arange(3, dtype=FLOAT32), mask_of(9, 0, 8)),
        Scalar("s", 1.0),
        Dense("odd", np.arange(7, dtype=FLOAT32)),
    )
    buffer = np.frombuffer(encode(payload), np.uint8)
    for item in decode(buffer):
        if isinstance(item, Dense | Masked):
            assert np.shares_memory(item.values, buffer)
            assert item.values.flags.aligned
            assert not item.values.flags.writeable
        if isinstance(item, Masked):
            assert not item.mask.flags.writeable


def test_misaligned_and_writable_buffers_are_decoded() -> None:
    payload = (Dense("d", np.arange(5, dtype=FLOAT32)), Bits("b", mask_of(9, 8)))
    buffer = encode(payload)
    shifted = np.frombuffer(b"x" + buffer, np.uint8)[1:]
    for other in (shifted, memoryview(bytearray(buffer)), np.frombuffer(buffer, np.uint8).copy()):
        decoded = decode(other)
        assert list(map(contents, decoded)) == list(map(contents, payload))
        assert isinstance(decoded[0], Dense)
        assert decoded[0].values.flags.aligned
        assert not decoded[0].values.flags.writeable


def test_decoded_implicit_mask_is_read_only() -> None:
    known = mask_of(9, 3)
    (item,) = decode(encode((masked("m", known),), known_masks={"m": known}), known_masks={"m": known})
    assert isinstance(item, Masked)
    assert not item.mask.flags.writeable
    assert known.flags.writeable


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ((Scalar("s", 1.0), Scalar("s", 2.0)), "same name"),
        ((Dense("d", np.zeros(3, np.float64)),), r"'d'.*float32.*float64"),
        ((Dense("d", np.zeros((2, 2), FLOAT32)),), r"'d'.*\[2, 2\]"),
        ((Masked("m", np.zeros(3, FLOAT32), np.zeros(3, np.uint8)),), r"'m'.*bool.*uint8"),
        ((Masked("m", np.zeros(1, FLOAT32), np.ones(2, np.bool_)),), r"'m'.*2 entries for 1 values"),
        ((Bits("b", np.zeros(3, np.int64)),), r"'b'.*bool"),
        ((Scalar("\ud800", 1.0),), "UTF-8"),
        ((Scalar("n" * 2**16, 1.0),), "65536 bytes"),
    ],
)
def test_payloads_that_cannot_be_encoded_are_rejected(payload: Payload, message: str) -> None:
    with pytest.raises(WireError, match=message):
        encode(payload)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_non_contiguous_values_are_encoded_in_order(seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(20).astype(FLOAT32)
    mask = np.random.default_rng(seed).random(40) < 0.5
    strided = (Dense("d", values[::-2]), Bits("b", mask[::3]))
    copied = (Dense("d", values[::-2].copy()), Bits("b", mask[::3].copy()))
    assert encode(strided) == encode(copied)
