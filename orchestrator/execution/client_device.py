"""Chooses the torch device of a client: its share of a GPU if torch finds CUDA, else the CPU."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from orchestrator.fleet.profiles import DeviceProfile


def client_device(num_gpus: float, *, cuda: bool) -> torch.device:
    """The GPU for a client that reserves GPUs or a share of one, if torch finds CUDA; else the CPU."""
    return torch.device("cuda" if num_gpus > 0 and cuda else "cpu")


def memory_share(num_gpus: float, *, cuda: bool) -> float | None:
    """Share of its GPU's memory, in (0, 1), that an actor's torch may allocate; None: no limit."""
    return num_gpus if cuda and 0 < num_gpus < 1 else None


def limit_gpu_memory(num_gpus: float) -> None:
    """Limit this process to its share of a GPU's memory. Call this before the process puts tensors on the GPU.

    An allocation beyond the share raises torch.OutOfMemoryError and does not affect other actors on this GPU. CUDA's
    own context in each process is not counted.
    """
    share = memory_share(num_gpus, cuda=torch.cuda.is_available())
    if share is not None:
        torch.cuda.set_per_process_memory_fraction(share)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within the block, cuDNN computes repeatable float32 results on a GPU.

    By default cuDNN adds in the order in which its threads finish, and rounds factors to TF32's ten bits.
    """
    if device.type != "cuda":
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def cpu_instead(profiles: Iterable[DeviceProfile], *, cuda: bool) -> str:
    """Note for a run's description if profiles reserve a GPU but this machine has no CUDA; else ""."""
    names = [] if cuda else [profile.name for profile in profiles if profile.num_gpus > 0]
    if not names:
        return ""
    return f"; no CUDA on this machine: its clients of profile {', '.join(names)} train on the CPU"
