"""The bytes of values: little-endian, rounded, read-only, and values that cannot be encoded."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orchestrator.errors import WireError
from orchestrator.sparsity.value_coding import (
    check_vector,
    decode_scalar,
    decode_values,
    encode_scalar,
    encode_values,
)

VALUES = np.array([1.0, -2.0, 0.5], np.float32)


def test_bytes_of_values_are_little_endian() -> None:
    assert encode_values("w", VALUES, "float32").tobytes().hex() == "0000803f000000c00000003f"
    assert encode_values("w", VALUES, "float16").tobytes().hex() == "003c00c00038"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_decoded_values_are_read_only_and_equal(dtype: str) -> None:
    found = decode_values(encode_values("w", VALUES, dtype), dtype)  # type: ignore[arg-type]
    assert found.dtype == np.float32
    assert found.tolist() == VALUES.tolist()
    assert not found.flags.writeable


def test_values_at_an_odd_address_are_copied() -> None:
    raw = np.zeros(13, np.uint8)
    raw[1:] = encode_values("w", VALUES, "float32")
    assert decode_values(raw[1:], "float32").tolist() == VALUES.tolist()


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(2049.0, 2048.0), (2051.0, 2052.0), (65519.0, 65504.0), (1e-9, 0.0), (-np.inf, -np.inf)],
)
def test_float16_rounds_to_the_nearest_even_number(value: float, rounded: float) -> None:
    encoded = encode_values("w", np.array([value], np.float32), "float16")
    assert decode_values(encoded, "float16").tolist() == [rounded]


def test_nan_remains_nan() -> None:
    encoded = encode_values("w", np.array([np.nan], np.float32), "float16")
    assert np.isnan(decode_values(encoded, "float16")).tolist() == [True]


@pytest.mark.parametrize("value", [65520.0, -1e9])
def test_finite_value_that_rounds_to_infinity_is_rejected_with_its_item(value: float) -> None:
    with pytest.raises(WireError, match="'momentum'"):
        encode_values("momentum", np.array([0.0, value], np.float32), "float16")


@pytest.mark.parametrize("value", [0.1, -0.0, np.inf, 2.0**-1074])
def test_scalar_has_eight_bytes_and_keeps_every_bit(value: float) -> None:
    encoded = encode_scalar(value)
    assert encoded.nbytes == 8
    found = decode_scalar(encoded)
    assert (found, np.signbit(found)) == (value, np.signbit(value))


@pytest.mark.parametrize("values", [np.zeros((2, 2), np.float32), np.zeros(2), np.zeros(2, np.int32)])
def test_array_of_another_rank_or_dtype_is_rejected_with_its_item(values: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(WireError, match="'w'"):
        check_vector("w", values, np.float32)
    with pytest.raises(WireError, match="'w'"):
        encode_values("w", values, "float32")


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    """1 is 0x3f80, and 1 + 2**-7 the next value. Their mean rounds to the even one of both, more rounds up."""
    step = 2.0**-7
    values = np.array(
        [1.0, 1 + step / 2, 1 + step / 2 + 2.0**-23, 1 + 3 * step / 2, -2.5, -0.0, np.inf], np.float32
    )
    section = encode_values("v", values, "bfloat16")
    assert section.view("<u2").tolist() == [0x3F80, 0x3F80, 0x3F81, 0x3F82, 0xC020, 0x8000, 0x7F80]
    assert decode_values(section, "bfloat16").tolist() == [
        1.0,
        1.0,
        1 + step,
        1 + 2 * step,
        -2.5,
        -0.0,
        np.inf,
    ]


def test_every_bfloat16_pattern_survives_a_round_trip() -> None:
    section = np.arange(2**16, dtype="<u2").view(np.uint8)
    assert encode_values("v", decode_values(section, "bfloat16"), "bfloat16").tobytes() == section.tobytes()


@given(hnp.arrays(np.uint32, st.integers(1, 40)))
def test_bfloat16_rounds_as_torch_does(bits: np.ndarray) -> None:
    """NaN stays NaN, whatever its payload is."""
    values = bits.view(np.float32)
    values = values[~(np.isfinite(values) & (np.abs(values) >= 3.3961e38))]
    decoded = decode_values(encode_values("v", values, "bfloat16"), "bfloat16")
    np.testing.assert_array_equal(
        decoded, torch.from_numpy(values).to(torch.bfloat16).to(torch.float32).numpy()
    )


@pytest.mark.parametrize("value", [np.finfo(np.float32).max, -3.397e38])
def test_bfloat16_overflow_is_rejected_with_item_and_key(value: float) -> None:
    with pytest.raises(WireError, match=r"'v'.*bfloat16.*wire\.value_dtype"):
        encode_values("v", np.array([0.0, value], np.float32), "bfloat16")
