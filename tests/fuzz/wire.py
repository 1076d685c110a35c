"""Decode mutated and random buffers: `python -m tests.fuzz.wire --buffers 200000`.

These results are findings:
- an error other than WireError is raised, also a MemoryError within the bound on memory;
- the decoder accepts a changed buffer that still has its old checksum. (A buffer of 0 bytes is the valid encoding of a
  payload without items. It has its own outcome, because the caller must check that expected items exist.)
- the decoder accepts a buffer, but encoding the decoded payload gives another buffer. This also counts for buffers with
  a new correct checksum: such a buffer may be a valid message with another content.
"""

import struct
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.errors import WireError
from orchestrator.sparsity.payload import Bits, Bool, Dense, Float32, Item, Masked, Payload, Scalar
from orchestrator.sparsity.wire import decode, encode, section_bytes
from orchestrator.sparsity.wire_frame import ValueDtype, WireVersion
from tests.fuzz.mutation import mutated
from tests.fuzz.tally import MIB, Tally, command

#: limit of values and mask entries that the receiver accepts
MAX_ELEMENTS = 100_000
MORE_BYTES = 64 * MIB
_REPORT_EVERY = 5_000
_DTYPES: tuple[ValueDtype, ...] = ("float32", "float16", "bfloat16", "int8")
_NAMES = ("w", "", "bias", "layer.0/weight", "größe", "名", "x" * 41)


@dataclass(frozen=True, slots=True)
class EncodedPayload:
    """An encoded payload and its shared masks."""

    buffer: bytes
    known: Mapping[str, Bool]


def fuzz(seed: int, num_buffers: int) -> Iterator[Tally]:
    """Try `num_buffers` buffers; yield the tally at intervals and at the end."""
    rng, tally = np.random.default_rng([seed, 1]), Tally()
    sent = corpus(rng)
    buffers = [one.buffer for one in sent]
    valid = set(buffers)
    yield tally
    for number in range(1, num_buffers + 1):
        one = sent[int(rng.integers(len(sent)))]
        buffer = mutated(rng, one.buffer, buffers)
        resealed = rng.random() < 0.7
        if resealed:
            buffer = sealed(buffer)
        known = one.known if rng.random() < 0.7 else sent[int(rng.integers(len(sent)))].known
        tally.outcomes[outcome(tally, buffer, known, may_differ=resealed or buffer in valid)] += 1
        if number % _REPORT_EVERY == 0:
            yield tally
    yield tally


def outcome(tally: Tally, buffer: bytes, known: Mapping[str, Bool], *, may_differ: bool) -> str:
    """Decode a buffer and return the name of the outcome; `may_differ`: its checksum is correct for any content."""
    try:
        payload = decode(buffer, known_masks=known, max_elements=MAX_ELEMENTS)
        sections = section_bytes(buffer)
    except WireError:
        return _rejected(tally, buffer)
    except Exception as error:
        return tally.found(f"{type(error).__name__}: {error} for {buffer.hex()}")
    if not buffer:
        return "empty" if not payload else tally.found("items from an empty buffer")
    if not may_differ:
        return tally.found(f"changed and accepted: {buffer.hex()}")
    value_dtype = _DTYPES[buffer[10]]
    try:
        again = encode(
            payload,
            value_dtype=value_dtype,
            known_masks=known,
            version=_version(buffer),
            rng=np.random.default_rng(0),
        )
    except Exception as error:
        return tally.found(f"cannot be encoded again ({type(error).__name__}: {error}): {buffer.hex()}")
    if again != buffer:
        return tally.found(f"accepted, but encoded as {again.hex()}: {buffer.hex()}")
    if 12 + sum(s.header_bytes + s.mask_bytes + s.value_bytes for s in sections) != len(buffer):
        return tally.found(f"sections of another length: {buffer.hex()}")
    return "valid"


def _version(buffer: bytes) -> WireVersion:
    return 1 if buffer[3] == 1 else 2


def _rejected(tally: Tally, buffer: bytes) -> str:
    try:
        section_bytes(buffer)
    except WireError:
        pass
    except Exception as error:
        return tally.found(f"{type(error).__name__}: {error} in section_bytes for {buffer.hex()}")
    return "rejected"


def sealed(buffer: bytes) -> bytes:
    """Return the buffer as a message with a correct checksum."""
    start = b"SFL\x01" if buffer[3:4] == b"\x01" else b"SFL\x02"
    covered = buffer[8:] if start[3] == 1 else start + buffer[8:]
    return start + struct.pack("<I", zlib.crc32(covered)) + buffer[8:]


def corpus(rng: np.random.Generator) -> Sequence[EncodedPayload]:
    """Return payloads with every kind of item, dtype and mask coding, alone and combined."""
    sent = []
    for value_dtype in _DTYPES:
        for make in (_dense, _scalar, _bits, _masked_full, _masked_bitmap, _masked_gaps, _masked_false_gaps):
            for size in (0, 1, 9, 64, 300):
                sent.append(_encoded(rng, (make(rng, "w", size),), value_dtype))
        for _ in range(20):
            makers = rng.choice(len(_MAKERS), size=int(rng.integers(2, 6)))
            names = rng.permutation(len(_NAMES))
            items = tuple(
                _MAKERS[maker](rng, _NAMES[name], int(rng.integers(80)))
                for maker, name in zip(makers, names, strict=False)
            )
            sent.append(_encoded(rng, items, value_dtype))
    return sent


def _encoded(rng: np.random.Generator, payload: Payload, value_dtype: ValueDtype) -> EncodedPayload:
    known = {
        item.name: _changed(rng, item.mask)
        for item in payload
        if isinstance(item, Masked) and rng.random() < 0.6
    }
    version: WireVersion = 1 if rng.random() < 0.2 else 2
    if value_dtype == "int8":
        payload, version = tuple(_finite(item) for item in payload), 2
    data = encode(payload, value_dtype=value_dtype, known_masks=known, version=version, rng=rng)
    return EncodedPayload(data, known)


def _finite(item: Item) -> Item:
    """The item with finite values, as int8 needs them."""
    if not isinstance(item, Dense | Masked):
        return item
    values = np.nan_to_num(item.values, nan=0.0, posinf=3.0, neginf=-3.0)
    return Dense(item.name, values) if isinstance(item, Dense) else Masked(item.name, values, item.mask)


def _changed(rng: np.random.Generator, mask: Bool) -> Bool:
    """The mask, or one that differs in a few entries."""
    changed = mask.copy()
    if mask.size and rng.random() < 0.5:
        changed[rng.integers(mask.size, size=int(rng.integers(1, 4)))] ^= True
    return changed


def _values(rng: np.random.Generator, size: int) -> Float32:
    values = rng.normal(size=size).astype(np.float32)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 6e-8], np.float32)
    places = rng.random(size) < 0.1
    values[places] = rng.choice(odd, size=int(places.sum()))
    return values


def _dense(rng: np.random.Generator, name: str, size: int) -> Item:
    return Dense(name, _values(rng, size))


def _scalar(rng: np.random.Generator, name: str, size: int) -> Item:
    return Scalar(name, float(rng.choice([0.0, -1.5, 1e300, np.nan, np.inf])))


def _bits(rng: np.random.Generator, name: str, size: int) -> Item:
    return Bits(name, rng.random(size) < 0.5)


def _masked(rng: np.random.Generator, name: str, size: int, density: float) -> Item:
    mask = rng.random(size) < density
    return Masked(name, _values(rng, int(mask.sum()) + int(rng.integers(4))), mask)


def _masked_full(rng: np.random.Generator, name: str, size: int) -> Item:
    return _masked(rng, name, size, 1.0)


def _masked_bitmap(rng: np.random.Generator, name: str, size: int) -> Item:
    return _masked(rng, name, size, 0.5)


def _masked_gaps(rng: np.random.Generator, name: str, size: int) -> Item:
    return _masked(rng, name, size, float(rng.choice([0.01, 0.1, 0.3])))


def _masked_false_gaps(rng: np.random.Generator, name: str, size: int) -> Item:
    return _masked(rng, name, size, 0.9)


_MAKERS = (_dense, _scalar, _bits, _masked_full, _masked_bitmap, _masked_gaps, _masked_false_gaps)

if __name__ == "__main__":
    sys.exit(command("wire", "--buffers", 200_000, fuzz, MORE_BYTES))
