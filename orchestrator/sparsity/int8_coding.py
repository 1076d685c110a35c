"""Encodes and decodes values as int8 with one scale for each vector.

With m as the largest magnitude of a vector, the value v becomes an integer q in [-127, 127], and the receiver decodes
m q / 127. 127 v / m is rounded up with a probability equal to its fraction, otherwise down, so that the mean of the
decoded value is v (stochastic rounding). A value that the receiver has decoded is within 2**-16 of its integer. Such a
value gets this integer, so that encoding a decoded vector again gives the same bytes.
"""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Float32
from orchestrator.sparsity.wire_frame import SCALE_BYTES, Bytes

#: integers on each side of 0
LEVELS = 127
#: a vector whose values are all smaller is sent as zeros; above, m / 127 is a normal float32 of full precision
SMALLEST_SCALE = float(np.float32(2.0**-100))
_SCALE = np.dtype("<f4")
#: largest distance of a decoded value from its integer; rounding errors of float32 at 127 are below 2**-17
_TOLERANCE = 2.0**-16


def encode_int8(name: str, values: Float32, rng: np.random.Generator) -> Bytes:
    """Encode float32[n] as 4 + n bytes: the scale m as float32, and n integers; 0 bytes for n = 0.

    `rng` gives one uniform number for each value, which decides between rounding up and down.
    Raises WireError, which names the item, for a value that is not finite.
    """
    if not values.size:
        return np.empty(0, np.uint8)
    scale = float(np.abs(values).max())
    if not np.isfinite(scale):
        raise WireError(f"item {name!r}: int8 has no NaN and no infinity; set wire.value_dtype=float32")
    section = np.zeros(SCALE_BYTES + values.size, np.uint8)
    if scale < SMALLEST_SCALE:
        return section
    section[:SCALE_BYTES] = np.array([scale], _SCALE).view(np.uint8)
    scaled = values.astype(np.float64) * LEVELS / scale
    nearest = np.rint(scaled)
    rounded = np.floor(scaled + rng.random(values.size))
    is_exact = np.abs(scaled - nearest) <= _TOLERANCE
    section[SCALE_BYTES:] = np.where(is_exact, nearest, rounded).astype(np.int8).view(np.uint8)
    return section


def check_int8(section: Bytes) -> None:
    """Raise WireError for a section of int8 values that `encode_int8` does not write."""
    if not section.size:
        return
    scale, steps = _scale(section), section[SCALE_BYTES:].view(np.int8)
    largest = max(-int(steps.min()), int(steps.max()))
    is_zero = not section[:SCALE_BYTES].any()
    if not is_zero and not SMALLEST_SCALE <= scale < np.inf:
        raise WireError(f"the scale {scale:g} of int8 values is not valid")
    if largest != (0 if is_zero else LEVELS):
        raise WireError(f"the largest magnitude of int8 values is {largest}, and their scale is {scale:g}")


def decode_int8(section: Bytes, start: int, stop: int) -> Float32:
    """Decode the values [start, stop) of a section that `check_int8` accepts, float32[stop - start]."""
    if start == stop:
        return np.empty(0, np.float32)
    return _decoded(_scale(section))[section[SCALE_BYTES + start : SCALE_BYTES + stop]]


def _scale(section: Bytes) -> float:
    return float(section[:SCALE_BYTES].view(_SCALE)[0])


def _decoded(scale: float) -> NDArray[np.float32]:
    """The value of each byte, float32[256]."""
    steps = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64)
    return (steps * scale / LEVELS).astype(np.float32)
