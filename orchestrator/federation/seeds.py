"""Named random streams: every random choice of a run comes from `stream(root_seed, *path)`.

A stream depends on its path alone, through a stable hash, so that clients, rounds and purposes never share
numbers and no order of execution matters. The one place that touches torch's global generator is
`forked_torch_seed`, for model initialisation and dropout, and it restores what it found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch


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
def forked_torch_seed(root_seed: int, *path: str | int) -> Iterator[None]:
    """Seed torch's global generators for the block, and put the CPU's state back afterwards.

    torch.manual_seed would do, but costs more than a training step where torch was built for GPUs.
    """
    state, seed = torch.get_rng_state(), derive(root_seed, *path)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
