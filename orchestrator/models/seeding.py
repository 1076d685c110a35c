"""Seeds the global random generators that user code may use: those of torch, numpy and Python.

Model builders and forward passes use the global generators. The project's own code uses named streams instead.

All threads of a process share one global generator of each kind. They therefore take turns: a block of this module
begins when no other thread is in one. Otherwise runs in several threads would use each other's random numbers.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

#: reentrant, because a block may contain another one
_TURN = threading.RLock()


@contextmanager
def forked_generators(seed: int) -> Iterator[None]:
    """Seed every global generator with a 64-bit `seed`, and restore the states of the CPU generators afterwards.

    This function does not call torch.manual_seed, which takes longer than a training step when torch supports GPUs.
    """
    with _preserved_cpu_generators():
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(seed)
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])  # noqa: NPY002
        random.seed(seed)
        yield


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Restore the states of all global generators, those of the GPUs included, after the block."""
    with _preserved_cpu_generators():
        is_on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        gpu_states = torch.cuda.get_rng_state_all() if is_on_gpu else []
        try:
            yield
        finally:
            if is_on_gpu:
                torch.cuda.set_rng_state_all(gpu_states)


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorStates:
    """The states of all global generators at the time at which the object was made."""

    torch_cpu: torch.Tensor = field(default_factory=torch.get_rng_state)
    torch_gpus: list[torch.Tensor] = field(default_factory=lambda: _gpu_states())
    numpy: Any = field(default_factory=np.random.get_state)
    python: Any = field(default_factory=random.getstate)

    def restore(self) -> None:
        """Give all global generators these states."""
        torch.set_rng_state(self.torch_cpu)
        if self.torch_gpus:
            torch.cuda.set_rng_state_all(self.torch_gpus)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)

    def equal_now(self) -> bool:
        """Whether all global generators still have these states."""
        numpy: Any = np.random.get_state()  # noqa: NPY002
        return (
            torch.equal(self.torch_cpu, torch.get_rng_state())
            and all(torch.equal(a, b) for a, b in zip(self.torch_gpus, _gpu_states(), strict=True))
            and np.array_equal(numpy[1], self.numpy[1])
            and numpy[2:] == self.numpy[2:]
            and self.python == random.getstate()
        )


@contextmanager
def resumed_generators(states: GeneratorStates) -> Iterator[None]:
    """Give all global generators these states for the block, then restore them."""
    with preserved_generators():
        states.restore()
        yield


def _gpu_states() -> list[torch.Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]


@contextmanager
def _preserved_cpu_generators() -> Iterator[None]:
    with _TURN:
        before = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
        try:
            yield
        finally:
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            random.setstate(before[2])
