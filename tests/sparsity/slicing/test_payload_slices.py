"""Slices of encoded payloads against slices of the decoded payload."""

import numpy as np
import pytest

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.slicing.payload_slices import VectorSlice, decode_slice
from orchestrator.sparsity.wire import decode, encode
from orchestrator.sparsity.wire_frame import ValueDtype

RNG = np.random.default_rng(1)


def _floats(count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return RNG.standard_normal(count).astype(np.float32)


def _masked(name: str, width: int, density: float, num_dense: int = 0) -> Masked:
    mask: Bool = RNG.random(width) < density
    return Masked(name, _floats(int(mask.sum()) + num_dense), mask)


PAYLOAD: Payload = (
    Dense("dense", _floats(101)),
    _masked("sparse", 997, 0.1),
    _masked("half", 640, 0.5),
    Bits("bits", RNG.random(77) < 0.5),
    Bits("rare bits", RNG.random(905) < 0.03),
    Bits("frequent bits", RNG.random(905) < 0.97),
    Scalar("scalar", 0.25),
)


@pytest.mark.parametrize("value_dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_slices_of_all_items_join_to_the_payload(value_dtype: ValueDtype, count: int) -> None:
    buffer = encode(PAYLOAD, value_dtype=value_dtype, rng=np.random.default_rng(2))
    slices = [
        decode_slice(
            buffer,
            {},
            lambda name, size, s=s: VectorSlice.of(size * s // count, size * (s + 1) // count),  # type: ignore[misc]
        )
        for s in range(count)
    ]
    for place, whole in enumerate(decode(buffer)):
        parts = [payload[place] for payload in slices]
        match whole:
            case Dense():
                joined = np.concatenate([part.values for part in parts])  # type: ignore[union-attr]
                assert joined.tobytes() == whole.values.tobytes()
            case Masked():
                assert [part.name for part in parts] == [whole.name] * count
                assert np.concatenate([part.mask for part in parts]).tolist() == whole.mask.tolist()  # type: ignore[union-attr]
                joined = np.concatenate([part.values for part in parts])  # type: ignore[union-attr]
                assert joined.tobytes() == whole.values.tobytes()
            case Bits():
                assert np.concatenate([part.bits for part in parts]).tolist() == whole.bits.tolist()  # type: ignore[union-attr]
            case Scalar():
                assert parts == [whole] * count


def test_values_that_are_not_maskable_belong_to_their_slice() -> None:
    """A vector m m d m: the mask is 1 0 1, so that the values are those of entries 0, 2 (dense) and 3."""
    item = Masked("theta", np.array([1, 2, 3], np.float32), np.array([True, False, True]))
    buffer = encode((item,))
    slices = {"left": VectorSlice(0, 2, 0, 2), "right": VectorSlice(2, 4, 2, 3)}
    (left,) = decode_slice(buffer, {}, lambda name, size: slices["left"])
    (right,) = decode_slice(buffer, {}, lambda name, size: slices["right"])
    assert isinstance(left, Masked)
    assert isinstance(right, Masked)
    assert (left.values.tolist(), left.indices.tolist(), left.width) == ([1.0], [0], 2)
    assert (right.values.tolist(), right.indices.tolist(), right.width) == ([2.0, 3.0], [0], 1)


def test_mask_with_more_entries_than_values_is_rejected() -> None:
    buffer = bytearray(encode((Masked("m", np.ones(3, np.float32), np.array([True, False, True, True])),)))
    buffer[-1] |= 0b10  # the mask keeps a fourth entry
    with pytest.raises(WireError, match="do not fit its mask"):
        decode_slice(bytes(buffer), {}, lambda name, size: VectorSlice.of(0, size))
