"""Calls of an actor that nobody waits for until the end."""

from contextlib import suppress
from typing import Any, final

import ray

#: calls that are held before those that are done are let go
_MOST_HELD = 64


@final
class PendingCalls:
    """Holds no more of a long run's calls than those that are not done, or have failed."""

    def __init__(self) -> None:
        self._open: list[ray.ObjectRef[Any]] = []
        self._failed: list[ray.ObjectRef[Any]] = []

    def add(self, ref: ray.ObjectRef[Any]) -> None:
        """Another call of the same actor."""
        self._open.append(ref)
        if len(self._open) >= _MOST_HELD:
            done, self._open = ray.wait(self._open, num_returns=len(self._open), timeout=0)
            self._failed += [ref for ref in done if not _is_fine(ref)]

    def wait(self) -> None:
        """Wait for all of them. Raises what the first one that failed has raised, as Ray wraps it."""
        ray.get([*self._failed, *self._open])


def _is_fine(ref: ray.ObjectRef[Any]) -> bool:
    with suppress(ray.exceptions.RayError):
        ray.get(ref)
        return True
    return False
