"""Encodes and decodes values as little-endian float32 or float16, and scalars as float64."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Float32
from orchestrator.sparsity.wire_frame import Bytes, ValueDtype

_DTYPES: dict[ValueDtype, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
#: the smallest magnitude that rounds to infinity: the mean of the largest finite value, 65504, and 2**16
_FLOAT16_OVERFLOW = np.float32(65520.0)
_SCALAR = np.dtype("<f8")


def encode_values(name: str, values: Float32, value_dtype: ValueDtype) -> Bytes:
    """Encode a float32[n] vector as bytes. float16 rounds to nearest even.

    Raises WireError, which names the item, for another dtype or rank, and for a finite value beyond float16's range.
    """
    check_vector(name, values, np.float32)
    if value_dtype == "float16":
        too_large = (np.abs(values) >= _FLOAT16_OVERFLOW) & np.isfinite(values)
        if too_large.any():
            raise WireError(
                f"item {name!r}: the value {values[too_large][0]:g} is beyond the range of float16; "
                "set wire.value_dtype=float32"
            )
    with np.errstate(under="ignore", invalid="ignore"):
        encoded = np.ascontiguousarray(values, _DTYPES[value_dtype])
    return encoded.view(np.uint8)


def decode_values(section: Bytes, value_dtype: ValueDtype) -> Float32:
    """Decode the values of a section, float32[n], read-only. The result is a view of an aligned float32 section."""
    raw = section.view(_DTYPES[value_dtype])
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
