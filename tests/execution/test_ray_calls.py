"""PendingCalls releases finished calls and keeps failed calls."""

import pytest
import ray

from orchestrator.execution.ray_calls import PendingCalls

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


class Counter:
    """An actor that counts and rejects negative numbers."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> None:
        """Raises ValueError for a negative number."""
        if number < 0:
            raise ValueError("less than nothing")
        self.total += number

    def get(self) -> int:
        """The current total."""
        return self.total


def test_finished_calls_are_released() -> None:
    counter = ray.remote(Counter).remote()
    calls = PendingCalls()
    for _ in range(500):
        calls.add(counter.add.remote(1))
        ray.get(counter.get.remote())
    assert len(calls._open) < 64
    calls.wait()
    assert ray.get(counter.get.remote()) == 500
    ray.kill(counter)


def test_wait_raises_the_error_of_an_early_call() -> None:
    counter = ray.remote(Counter).remote()
    calls = PendingCalls()
    calls.add(counter.add.remote(-1))
    for _ in range(200):
        calls.add(counter.add.remote(1))
    with pytest.raises(ValueError, match="less than nothing"):
        calls.wait()
    ray.kill(counter)
