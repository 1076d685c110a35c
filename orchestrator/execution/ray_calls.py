"""Wait for actor calls: for one call with checks meanwhile, or for calls whose results are needed only at the end."""

from collections.abc import Callable
from typing import Any, final

import ray

from orchestrator.execution.ray_actors import GONE

#: number of stored calls at which finished calls are released
_MAX_STORED = 64


@final
class PendingCalls:
    """Stores the unfinished and failed calls of an actor, and releases the others."""

    def __init__(self) -> None:
        self._open: list[ray.ObjectRef[Any]] = []
        self._failed: list[ray.ObjectRef[Any]] = []
        self._loss: Exception | None = None

    def add(self, ref: ray.ObjectRef[Any]) -> None:
        """Store another call of the same actor."""
        self._open.append(ref)
        if len(self._open) >= _MAX_STORED:
            self.collect()

    def collect(self) -> Exception | None:
        """Release the finished calls, without waiting. Returns the error of the first call that a dead actor lost."""
        if self._open:
            done, self._open = ray.wait(self._open, num_returns=len(self._open), timeout=0)
            for ref in done:
                try:
                    ray.get(ref)
                except ray.exceptions.RayError as error:
                    self._failed.append(ref)
                    self._loss = self._loss or (error if isinstance(error, GONE) else None)
        return self._loss

    def wait(self) -> None:
        """Wait for all calls. Raises the error of the first failed call, as Ray wraps it."""
        ray.get([*self._failed, *self._open])


def wait_with_checks(
    ref: ray.ObjectRef[Any],
    check: Callable[[], None],
    *,
    every_s: float,
    slow_s: float,
    slow: Callable[[], None],
) -> None:
    """Wait until a call has ended. Call `check` every `every_s` seconds, and `slow` once after `slow_s` seconds."""
    num_waits = 0
    while not ray.wait([ref], timeout=every_s)[0]:
        num_waits += 1
        check()
        if num_waits == round(slow_s / every_s):
            slow()
