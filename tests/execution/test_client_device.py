"""The device of a client on machines with and without a GPU."""

from dataclasses import replace

import pytest
import torch

from orchestrator.execution.client_device import (
    client_device,
    cpu_instead,
    limit_gpu_memory,
    memory_share,
)
from tests.support.fakes import DEVICE


@pytest.mark.parametrize(
    ("num_gpus", "cuda", "device"),
    [
        (0.0, False, "cpu"),
        (0.0, True, "cpu"),
        (0.1, True, "cuda"),
        (1.0, True, "cuda"),
        (2.0, True, "cuda"),
        (0.1, False, "cpu"),
        (1.0, False, "cpu"),
    ],
)
def test_client_uses_a_gpu_only_if_reserved_and_available(num_gpus: float, cuda: bool, device: str) -> None:
    assert client_device(num_gpus, cuda=cuda) == torch.device(device)


@pytest.mark.parametrize(
    ("num_gpus", "cuda", "share"),
    [
        (0.25, True, 0.25),
        (0.04, True, 0.04),
        (1.0, True, None),
        (2.0, True, None),
        (0.0, True, None),
        (0.25, False, None),
    ],
)
def test_memory_share_equals_gpu_share(num_gpus: float, cuda: bool, share: float | None) -> None:
    assert memory_share(num_gpus, cuda=cuda) == share


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without CUDA does")
@pytest.mark.parametrize("num_gpus", [0.0, 0.25, 1.0])
def test_memory_limit_does_nothing_without_cuda(num_gpus: float) -> None:
    limit_gpu_memory(num_gpus)
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_process_cannot_exceed_its_share_of_gpu_memory() -> None:
    """A tensor within the share is allocated, a larger tensor raises an error although the memory may be free."""
    limit_gpu_memory(0.1)
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.empty(total // 20, dtype=torch.uint8, device="cuda")
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(total // 5, dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_missing_gpu_names_the_profiles_that_reserve_it() -> None:
    board, phone = replace(DEVICE, name="board"), replace(DEVICE, name="phone", num_gpus=0.5)
    whole = replace(DEVICE, name="server", num_gpus=1.0)
    note = cpu_instead([board, phone, whole], cuda=False)
    assert "no CUDA" in note
    assert "phone, server" in note
    assert "board" not in note
    assert cpu_instead([board, phone, whole], cuda=True) == cpu_instead([board], cuda=False) == ""
