"""Keeps track of actor calls whose results are needed only at the end."""

from contextlib import suppress
from typing import Any, final

import ray

#: number of stored calls at which finished calls are released
_MAX_STORED = 64


@final
class PendingCalls:
    """Stores the unfinished and failed calls of an actor, and releases the others."""

    def __init__(self) -> None:
        self._open: list[ray.ObjectRef[Any]] = []
        self._failed: list[ray.ObjectRef[Any]] = []

    def add(self, ref: ray.ObjectRef[Any]) -> None:
        """Store another call of the same actor."""
        self._open.append(ref)
        if len(self._open) >= _MAX_STORED:
            done, self._open = ray.wait(self._open, num_returns=len(self._open), timeout=0)
            self._failed += [ref for ref in done if not _is_fine(ref)]

    def wait(self) -> None:
        """Wait for all calls. Raises the error of the first failed call, as Ray wraps it."""
        ray.get([*self._failed, *self._open])


def _is_fine(ref: ray.ObjectRef[Any]) -> bool:
    with suppress(ray.exceptions.RayError):
        ray.get(ref)
        return True
    return False
