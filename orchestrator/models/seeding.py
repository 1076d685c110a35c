"""The global random generators that user code may draw from: torch's, numpy's and Python's own.

Model builders and forward passes draw from them. The project's own code never does: it uses named streams.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def forked_generators(seed: int) -> Iterator[None]:
    """Seed every global generator with a 64-bit `seed` for the block, and put the CPU's states back afterwards.

    torch.manual_seed would do for torch, but costs more than a training step where torch was built for GPUs.
    """
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        random.setstate(before[2])
