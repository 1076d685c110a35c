"""How values are written: little-endian float32 or float16."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Float32
from orchestrator.sparsity.wire_frame import Bytes, ValueDtype

_DTYPES: dict[ValueDtype, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
#: the smallest magnitude that rounds to infinity: halfway from the largest finite value, 65504, to 2**16
_FLOAT16_OVERFLOW = np.float32(65520.0)
_SCALAR = np.dtype("<f8")


def encode_values(name: str, values: Float32, value_dtype: ValueDtype) -> Bytes:
    """float32[n] -> its bytes, float16 rounded to nearest even.

    Raises WireError, naming the item, for another dtype or rank, or a finite value beyond float16's range.
    """
    check_vector(name, values, np.float32)
    if value_dtype == "float16":
        overflown = (np.abs(values) >= _FLOAT16_OVERFLOW) & np.isfinite(values)
        if overflown.any():
            raise WireError(
                f"item {name!r}: the value {values[overflown][0]:g} is beyond the range of float16; "
                "set wire.value_dtype=float32"
            )
    with np.errstate(under="ignore", invalid="ignore"):
        encoded = np.ascontiguousarray(values, _DTYPES[value_dtype])
    return encoded.view(np.uint8)


def decode_values(section: Bytes, value_dtype: ValueDtype) -> Float32:
    """The read-only float32[n] values of a section; a view of it where it is aligned float32."""
    raw = section.view(_DTYPES[value_dtype])
    with np.errstate(invalid="ignore"):
        values = raw.astype(np.float32, copy=not raw.flags.aligned)
    values.flags.writeable = False
    return values


def encode_scalar(value: float) -> Bytes:
    """One number as float64."""
    return np.array([value], _SCALAR).view(np.uint8)


def decode_scalar(section: Bytes) -> float:
    """The number of an 8-byte section."""
    return float(section.view(_SCALAR)[0])


def check_vector(name: str, values: NDArray[Any], dtype: DTypeLike) -> None:
    """Raises WireError, naming the item, unless `values` is a vector of `dtype`."""
    if values.ndim != 1 or values.dtype != dtype:
        found = f"{values.dtype}{list(values.shape)}"
        raise WireError(f"item {name!r}: must be a vector of {np.dtype(dtype)}, not {found}")
