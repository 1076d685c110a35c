"""Named random streams: every random choice of a run comes from `stream(root_seed, *path)`.

A stream depends on its path alone, through a stable hash, so that clients, rounds and purposes never share
numbers and no order of execution matters. `forked_seeds` alone seeds the global
generators, which model builders, dropout and user code draw from, and it restores what it found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np

from orchestrator.models.seeding import forked_generators


def derive(root_seed: int, *path: str | int) -> int:
    """A 64-bit seed for that path: blake2b of the root seed and the path's parts, each with its type."""
    text = "\x1f".join(
        [str(root_seed), *(f"{'str' if isinstance(part, str) else 'int'}:{part}" for part in path)]
    )
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def stream(root_seed: int, *path: str | int) -> np.random.Generator:
    """The generator of that path, at its start."""
    return np.random.Generator(np.random.PCG64(derive(root_seed, *path)))


@contextmanager
def forked_seeds(root_seed: int, *path: str | int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python with that path for the block, and restore them after."""
    with forked_generators(derive(root_seed, *path)):
        yield
