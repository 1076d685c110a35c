"""int8 values with a scale: bytes derived by hand, the mean of random rounding, and sections that are rejected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from orchestrator.errors import WireError
from orchestrator.sparsity.int8_coding import check_int8, decode_int8, encode_int8

#: 127 v / m is 127, -64 and 0 for m = 127/64
EXACT = np.array([127 / 64, -1.0, 0.0], np.float32)


def _encoded(values: np.ndarray, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    return encode_int8("w", values, np.random.default_rng(seed))


def test_bytes_are_the_largest_magnitude_and_an_integer_for_each_value() -> None:
    """127/64 = 1.984375 is 0x3ffe0000 in float32; -64 is 0xc0 in two's complement."""
    assert _encoded(EXACT).tobytes().hex() == "0000fe3f" + "7fc000"
    assert decode_int8(_encoded(EXACT), 0, 3).tolist() == EXACT.tolist()


def test_vectors_without_values_and_of_zeros() -> None:
    assert _encoded(np.empty(0, np.float32)).size == 0
    assert _encoded(np.zeros(3, np.float32)).tolist() == [0] * 7
    assert _encoded(np.full(2, 1e-40, np.float32)).tolist() == [0] * 6


def test_value_between_two_integers_has_the_right_mean() -> None:
    """127 v / m = 0.25: a quarter of the values becomes 1; the standard deviation of this share is 0.0043 / 2."""
    values = np.full(40_001, 0.25, np.float32)
    values[0] = 127.0
    found = decode_int8(_encoded(values), 1, values.size)
    assert set(found.tolist()) == {0.0, 1.0}
    assert abs(float(found.mean()) - 0.25) < 4 * 0.00217


def test_rounding_follows_the_uniform_numbers() -> None:
    """The value 126.5 of 127 becomes 127 if its number is at least 0.5, else 126; negative values likewise."""
    values = np.array([127.0, 126.5, -0.5, 126.5, -0.5, 126.5, -0.5], np.float32)
    uniform = np.random.default_rng(3).random(7)
    found = decode_int8(_encoded(values, seed=3), 0, 7)
    high = uniform >= 0.5
    assert set(high[1:].tolist()) == {True, False}
    expected = [
        127.0,
        *(127.0 if h else 126.0 for h in high[1::2]),
        *(0.0 if h else -1.0 for h in high[2::2]),
    ]
    assert [found[0], *found[1::2], *found[2::2]] == expected


@given(
    hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    st.integers(0, 1000),
)
def test_decoded_values_are_near_and_have_one_encoding(values: np.ndarray, seed: int) -> None:  # type: ignore[type-arg]
    section = _encoded(values, seed)
    check_int8(section)
    decoded = decode_int8(section, 0, values.size)
    step = float(np.abs(values).max()) / 127
    assert np.abs(decoded.astype(np.float64) - values).max() <= max(1.0001 * step, 2.0**-100)
    assert _encoded(decoded, seed + 1).tobytes() == section.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_rejected_with_item_and_remedy(value: float) -> None:
    with pytest.raises(WireError, match=r"'w'.*wire\.value_dtype=float32"):
        _encoded(np.array([1.0, value], np.float32))


@pytest.mark.parametrize(
    "section",
    [
        "0000803f" + "7e01",  # no integer has the largest magnitude
        "0000803f" + "8001",  # -128
        "0000803f" + "807f",  # -128 beside 127
        "00000000" + "0100",  # a value without a scale
        "00000080" + "0000",  # scale -0
        "000080bf" + "7f00",  # a negative scale
        "0000807f" + "7f00",  # an infinite scale
        "0000c07f" + "7f00",  # NaN
        "01000000" + "7f00",  # a scale below the smallest
    ],
)
def test_section_that_no_encoder_writes_is_rejected(section: str) -> None:
    with pytest.raises(WireError):
        check_int8(np.frombuffer(bytes.fromhex(section), np.uint8))


def test_part_of_a_section_is_decoded() -> None:
    section = _encoded(EXACT)
    assert decode_int8(section, 1, 2).tolist() == [-1.0]
    assert decode_int8(section, 2, 2).size == 0
