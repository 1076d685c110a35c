"""Named random streams: every random choice of a run comes from `stream(root_seed, *path)`.

A stream depends only on the root seed and its path, through a stable hash. Clients, rounds and purposes therefore never
share random numbers, and the order of execution has no effect. Model builders, dropout and user code use the global
generators. Only `forked_seeds` seeds these, and it restores their state afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np

from orchestrator.models.seeding import forked_generators


def derive(root_seed: int, *path: str | int) -> int:
    """A 64-bit seed for this path: blake2b of the root seed and the path's parts, each with its type."""
    text = "\x1f".join(
        [str(root_seed), *(f"{'str' if isinstance(part, str) else 'int'}:{part}" for part in path)]
    )
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def stream(root_seed: int, *path: str | int) -> np.random.Generator:
    """A new generator for this path."""
    return np.random.Generator(np.random.PCG64(derive(root_seed, *path)))


@contextmanager
def forked_seeds(root_seed: int, *path: str | int) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python from this path for the block, then restore them."""
    with forked_generators(derive(root_seed, *path)):
        yield
