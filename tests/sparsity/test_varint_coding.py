"""Varints against a byte-by-byte oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import WireError
from orchestrator.sparsity.varint_coding import decode_varints, encode_varints, varint_lengths


def slow_varint(number: int) -> bytes:
    """LEB128, one byte at a time."""
    out = bytearray()
    while number >= 128:
        out.append(number % 128 + 128)
        number //= 128
    return bytes([*out, number])


NUMBERS = st.lists(
    st.integers(0, 300) | st.integers(0, 2**32 - 1) | st.sampled_from([127, 128, 2**14, 2**21 - 1, 2**28])
)


@given(NUMBERS)
def test_varints_equal_the_slow_encoding(numbers: list[int]) -> None:
    section = encode_varints(np.array(numbers, np.int64))
    assert section.dtype == np.uint8
    assert section.tobytes() == b"".join(map(slow_varint, numbers))
    assert decode_varints("m", section).tolist() == numbers
    assert varint_lengths(np.array(numbers, np.int64)).tolist() == [len(slow_varint(n)) for n in numbers]


@given(st.binary(max_size=12))
def test_any_section_is_rejected_or_canonical(data: bytes) -> None:
    try:
        numbers = decode_varints("m", np.frombuffer(data, np.uint8))
    except WireError:
        return
    assert b"".join(map(slow_varint, numbers.tolist())) == data


@pytest.mark.parametrize(
    "data", [b"\x80", b"\x01\xff", b"\x80\x00", b"\x81\x80\x00", b"\x80\x80\x80\x80\x80\x01"]
)
def test_truncated_padded_and_overlong_numbers_are_rejected(data: bytes) -> None:
    with pytest.raises(WireError, match="'m'"):
        decode_varints("m", np.frombuffer(data, np.uint8))
