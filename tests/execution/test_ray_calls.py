"""Calls that nobody waits for: done ones are let go, failed ones are not forgotten."""

import pytest
import ray

from orchestrator.execution.ray_calls import PendingCalls

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


class Counter:
    """Counts, and refuses a number."""

    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> None:
        """Raises ValueError for a negative one."""
        if number < 0:
            raise ValueError("less than nothing")
        self.total += number

    def get(self) -> int:
        """So far."""
        return self.total


def test_all_are_made_and_few_are_held() -> None:
    counter = ray.remote(Counter).remote()
    calls = PendingCalls()
    for _ in range(500):
        calls.add(counter.add.remote(1))
        ray.get(counter.get.remote())
    assert len(calls._open) < 64
    calls.wait()
    assert ray.get(counter.get.remote()) == 500
    ray.kill(counter)


def test_one_that_failed_long_ago_is_raised_at_the_end() -> None:
    counter = ray.remote(Counter).remote()
    calls = PendingCalls()
    calls.add(counter.add.remote(-1))
    for _ in range(200):
        calls.add(counter.add.remote(1))
    with pytest.raises(ValueError, match="less than nothing"):
        calls.wait()
    ray.kill(counter)
