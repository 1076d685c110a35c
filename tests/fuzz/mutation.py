"""Mutations of byte strings: the damage that disks, networks and attackers cause."""

import struct
from collections.abc import Callable, Sequence

import numpy as np

#: values for length fields
EXTREMES = (0, 1, 2, 7, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
Mutate = Callable[[np.random.Generator, bytes, Sequence[bytes]], bytes]


def _place(rng: np.random.Generator, data: bytes) -> int:
    return int(rng.integers(len(data) + 1))


def _slice(rng: np.random.Generator, data: bytes, longest: int = 64) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + 1 + int(rng.integers(longest)))


def flip_bits(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Flip one to four bits."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5)) if data else 0):
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_bytes(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replace up to eight bytes by random bytes or by one repeated byte."""
    start, end = _slice(rng, data, 8)
    filler = rng.bytes(end - start) if rng.random() < 0.5 else bytes([int(rng.integers(256))]) * (end - start)
    return data[:start] + filler + data[end:]


def truncate(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Cut off the end or the beginning."""
    place = _place(rng, data)
    return data[:place] if rng.random() < 0.8 else data[place:]


def insert(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Insert random bytes."""
    place = _place(rng, data)
    return data[:place] + rng.bytes(int(rng.integers(1, 32))) + data[place:]


def delete(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Delete some consecutive bytes."""
    start, end = _slice(rng, data)
    return data[:start] + data[end:]


def duplicate(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Insert a copy of some bytes, or overwrite other bytes with it."""
    start, end = _slice(rng, data)
    place = _place(rng, data)
    part = data[start:end]
    return data[:place] + part + data[place if rng.random() < 0.5 else place + len(part) :]


def splice(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Join the beginning of the data and the end of another."""
    other = others[int(rng.integers(len(others)))]
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def set_field(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change a length field to an extreme value, or by at most two."""
    size, form = ((4, "<I"), (2, "<H"), (1, "<B"))[int(rng.integers(3))]
    if len(data) < size:
        return data + b"\0"
    place = int(rng.integers((len(data) - size) // size + 1)) * size
    (value,) = struct.unpack_from(form, data, place)
    extreme = EXTREMES[int(rng.integers(len(EXTREMES)))]
    value = extreme if rng.random() < 0.6 else value + int(rng.integers(-2, 3))
    return data[:place] + struct.pack(form, value % 2 ** (8 * size)) + data[place + size :]


def noise(rng: np.random.Generator, data: bytes, others: Sequence[bytes]) -> bytes:
    """Replace everything by random bytes."""
    return rng.bytes(int(rng.integers(1, 200)))


MUTATIONS: tuple[Mutate, ...] = (
    flip_bits,
    set_bytes,
    truncate,
    insert,
    delete,
    duplicate,
    splice,
    set_field,
    noise,
)


def mutated(rng: np.random.Generator, data: bytes, others: Sequence[bytes], limit: int = 3) -> bytes:
    """Return the data after one to `limit` mutations."""
    for _ in range(int(rng.integers(1, limit + 1))):
        data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](rng, data, others)
    return data
