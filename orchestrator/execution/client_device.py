"""What a client computes on: its share of a GPU where torch finds CUDA, the CPU elsewhere."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from orchestrator.fleet.profiles import DeviceProfile


def client_device(num_gpus: float, *, cuda: bool) -> torch.device:
    """The GPU for whoever reserves GPUs or a share of one, if there is CUDA; the CPU otherwise."""
    return torch.device("cuda" if num_gpus > 0 and cuda else "cpu")


def memory_share(num_gpus: float, *, cuda: bool) -> float | None:
    """Share of its GPU's memory, in (0, 1), that an actor's torch may allocate; None: all that is free."""
    return num_gpus if cuda and 0 < num_gpus < 1 else None


def hold_to_share(num_gpus: float) -> None:
    """Hold this process's tensors to its share of a GPU's memory; comes before any of them is put there.

    What goes beyond it raises torch.OutOfMemoryError here, and takes nothing from the actors beside this one. CUDA's
    own context in each process is not counted.
    """
    share = memory_share(num_gpus, cuda=torch.cuda.is_available())
    if share is not None:
        torch.cuda.set_per_process_memory_fraction(share)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """For the block, what cuDNN computes on a GPU is the same again, and is float32's.

    Left alone, it adds up in whatever order its threads arrive, and rounds what it multiplies to TF32's ten bits.
    """
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def cpu_instead(profiles: Iterable[DeviceProfile], *, cuda: bool) -> str:
    """What a run's description adds where profiles reserve a GPU and this machine has no CUDA; "" otherwise."""
    names = [] if cuda else [profile.name for profile in profiles if profile.num_gpus > 0]
    if not names:
        return ""
    return f"; no CUDA on this machine: its clients of profile {', '.join(names)} train on the CPU"
