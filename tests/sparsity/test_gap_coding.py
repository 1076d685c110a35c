"""Gaps against a bit-by-bit oracle, and sections that the encoder does not write."""

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import WireError
from orchestrator.sparsity.gap_coding import decode_gaps, encode_gaps, low_bits
from tests.support.masks import mask_of


def slow_section(indices: list[int], width: int) -> bytes:
    """The documented section, one bit at a time."""
    count = len(indices)
    prefix = count.to_bytes((width.bit_length() + 7) // 8, "little")
    if not count:
        return prefix
    k = 0
    while 2 ** (k + 1) <= (width - count) / count + 0.5:
        k += 1
    gaps = [b - a - 1 for a, b in zip([-1, *indices], indices, strict=False)]
    bits = [gap >> place & 1 for place in reversed(range(k)) for gap in gaps]
    for gap in gaps:
        bits += [0] * (gap >> k) + [1]
    number = sum(bit << place for place, bit in enumerate(bits))
    return prefix + number.to_bytes((len(bits) + 7) // 8, "little")


@given(
    width=st.integers(0, 300) | st.sampled_from([2**16, 2**17 + 3]),
    count=st.integers(0, 40),
    seed=st.integers(0, 2**32),
)
def test_sections_equal_the_slow_encoding(width: int, count: int, seed: int) -> None:
    chosen = np.random.default_rng(seed).choice(width, min(count, width // 2), replace=False)
    indices = np.sort(chosen).astype(np.int64)
    section = encode_gaps(indices, width)
    assert section.dtype == np.uint8
    assert section.tobytes() == slow_section(indices.tolist(), width)
    assert decode_gaps("m", section, width).tolist() == indices.tolist()


def test_section_by_hand() -> None:
    """W = 40, m = 3: k = 3. The gaps 2, 9, 0 are 0 * 8 + 2, 1 * 8 + 1 and 0 * 8 + 0.

    Planes 000, 100, 010; ends 1, 01, 1: the bits 000 100 010 1 01 1, lowest first, are 0x88 and 0x1a = 11010b.
    """
    section = encode_gaps(np.array([2, 12, 13]), 40)
    assert section.tobytes() == bytes.fromhex("03 88 1a")


@pytest.mark.parametrize("density", [0.3, 0.2, 0.1, 0.05, 0.01, 0.001])
def test_length_is_close_to_the_entropy(density: float) -> None:
    width = 200_000
    indices = np.flatnonzero(np.random.default_rng(3).random(width) < density)
    share = indices.size / width
    entropy = -width * (share * log2(share) + (1 - share) * log2(1 - share))
    assert entropy < 8 * encode_gaps(indices, width).size < 1.035 * entropy + 40


@pytest.mark.parametrize("width", [3, 30, 3000])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_stream_has_at_most_width_bits(width: int, seed: int) -> None:
    """The bound holds for clustered positions too, up to a third of the vector."""
    rng = np.random.default_rng(seed)
    count, start = int(rng.integers(width // 3 + 1)), int(rng.integers(width))
    indices = np.sort((start + np.arange(count)) % width)
    assert 8 * (encode_gaps(indices, width).size - (width.bit_length() + 7) // 8) < width + 8


@given(data=st.binary(max_size=12), width=st.integers(0, 200))
@settings(max_examples=300)
def test_any_section_is_rejected_or_canonical(data: bytes, width: int) -> None:
    try:
        indices = decode_gaps("m", np.frombuffer(data, np.uint8), width)
    except WireError:
        return
    assert slow_section(indices.tolist(), width) == data


SECTION = bytes.fromhex("03 88 1a")


@pytest.mark.parametrize(
    ("data", "width", "match"),
    [
        (b"", 40, "no valid number"),
        (b"\x15" + SECTION[1:], 40, "no valid number"),
        (b"\x07" + SECTION[1:], 40, "too short"),
        (b"\x03\x88", 40, "too short"),
        (SECTION[:2] + b"\x0a", 40, "2 entries instead of 3"),
        (SECTION[:2] + b"\x3a", 40, "4 entries instead of 3"),
        (SECTION + b"\0", 40, "after its last entry"),
        (b"\0\0", 40, "after its last entry"),
        (SECTION, 256, "no valid number"),
        (b"\x01\x00" + bytes(2) + b"\x80", 300, "beyond the 300 entries"),
        (b"\x03\0\0\0\0\0\x38", 40, "beyond the 40 entries"),
        (b"\x03\xff\xe1", 40, "beyond the 40 entries"),
    ],
)
def test_invalid_section_is_rejected_with_its_cause(data: bytes, width: int, match: str) -> None:
    with pytest.raises(WireError, match=f"'m'.*{match}"):
        decode_gaps("m", np.frombuffer(data, np.uint8), width)


def test_low_bits_are_those_of_the_mean_gap() -> None:
    """Mean gaps of 1, 2, 3.49, 3.5 and 2**32 - 2."""
    widths_and_counts = [(2, 1), (3, 1), (449, 100), (450, 100), (2**32 - 1, 1)]
    assert [low_bits(width, count) for width, count in widths_and_counts] == [0, 1, 1, 2, 31]


def test_masks_of_few_entries_take_few_bytes() -> None:
    """A million entries: three bytes for the count; one position takes at most 19 low bits and two ends."""
    assert encode_gaps(np.flatnonzero(mask_of(10**6, 999_999)), 10**6).size == 3 + 3
