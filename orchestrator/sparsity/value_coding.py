"""Encodes and decodes values as little-endian float32, float16 or bfloat16, or as int8, and scalars as float64."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.int8_coding import check_int8, decode_int8, encode_int8
from orchestrator.sparsity.payload import Float32
from orchestrator.sparsity.wire_frame import SCALE_BYTES, Bytes, ValueDtype

_FLOAT32 = np.dtype("<f4")
_FLOAT16 = np.dtype("<f2")
#: the upper half of a float32, as bits: numpy has no bfloat16
_BFLOAT16 = np.dtype("<u2")
#: the smallest magnitudes that round to infinity: the means of the largest finite value and the next power of two
_OVERFLOW: dict[ValueDtype, np.float32] = {
    "float16": np.float32(65520.0),
    "bfloat16": np.float32((2.0 - 2.0**-8) * 2.0**127),
}
_SCALAR = np.dtype("<f8")


def encode_values(
    name: str, values: Float32, value_dtype: ValueDtype, rng: np.random.Generator | None = None
) -> Bytes:
    """Encode a float32[n] vector as bytes. float16 and bfloat16 round to nearest even; int8 needs `rng` to round.

    Raises WireError, which names the item, for another dtype or rank, and for a finite value beyond the dtype's range;
    with int8 also for NaN and infinities.
    """
    check_vector(name, values, np.float32)
    if value_dtype == "float32":
        return np.ascontiguousarray(values, _FLOAT32).view(np.uint8)
    if value_dtype == "int8":
        assert rng is not None, "int8 rounds with random numbers"
        return encode_int8(name, values, rng)
    with np.errstate(invalid="ignore"):
        too_large = (np.abs(values) >= _OVERFLOW[value_dtype]) & np.isfinite(values)
    if too_large.any():
        raise WireError(
            f"item {name!r}: the value {values[too_large][0]:g} is beyond the range of {value_dtype}; "
            "set wire.value_dtype=float32"
        )
    if value_dtype == "bfloat16":
        return _upper_halves(values).view(np.uint8)
    with np.errstate(under="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, _FLOAT16).view(np.uint8)


def _upper_halves(values: Float32) -> NDArray[np.uint16]:
    """Return bfloat16 values as uint16[n], rounded to nearest even; a NaN keeps the upper bits of its payload."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    upper = bits >> 16
    rounded = (bits + (upper & 1) + 0x7FFF) >> 16
    is_nan = np.isnan(values)
    if is_nan.any():
        # without a bit in the upper half of its payload, a NaN would become infinity
        upper |= np.where(upper & 0x7F, 0, 0x40).astype(np.uint32)
        rounded[is_nan] = upper[is_nan]
    return rounded.astype(_BFLOAT16)


def decode_values(section: Bytes, value_dtype: ValueDtype) -> Float32:
    """Decode the values of a section, float32[n], read-only. The result is a view of an aligned float32 section.

    Raises WireError for int8 values that `encode_values` does not write.
    """
    if value_dtype == "int8":
        check_int8(section)
    return decode_part(section, value_dtype, 0, num_values(section, value_dtype))


def num_values(section: Bytes, value_dtype: ValueDtype) -> int:
    """Return the number of values in a section."""
    if value_dtype == "int8":
        return max(0, section.size - SCALE_BYTES)
    return section.size // (4 if value_dtype == "float32" else 2)


def decode_part(section: Bytes, value_dtype: ValueDtype, start: int, stop: int) -> Float32:
    """Decode the values [start, stop) of a section that `decode_values` accepts, read-only."""
    if value_dtype == "int8":
        values = decode_int8(section, start, stop)
        values.flags.writeable = False
        return values
    size = 4 if value_dtype == "float32" else 2
    section = section[start * size : stop * size]
    if value_dtype == "bfloat16":
        values = (section.view(_BFLOAT16).astype(np.uint32) << 16).view(np.float32)
    else:
        raw = section.view(_FLOAT32 if value_dtype == "float32" else _FLOAT16)
        with np.errstate(invalid="ignore"):
            values = raw.astype(np.float32, copy=not raw.flags.aligned)
    values.flags.writeable = False
    return values


def encode_scalar(value: float) -> Bytes:
    """Encode a number as float64, 8 bytes."""
    return np.array([value], _SCALAR).view(np.uint8)


def decode_scalar(section: Bytes) -> float:
    """Decode the number in an 8-byte section."""
    return float(section.view(_SCALAR)[0])


def check_vector(name: str, values: NDArray[Any], dtype: DTypeLike) -> None:
    """Raise WireError, which names the item, unless `values` is a vector of `dtype`."""
    if values.ndim != 1 or values.dtype != dtype:
        found = f"{values.dtype}{list(values.shape)}"
        raise WireError(f"item {name!r}: must be a vector of {np.dtype(dtype)}, not {found}")
