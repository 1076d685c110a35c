"""Whether the cluster's head is there.

Without it nothing can be started, found or ended, and Ray ends a process that has not reached it for 60 s, with a line
that knows nothing of runs.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

import ray

from orchestrator.errors import SparsefleetError, one_line

#: how long it may be away, and how often it is looked for, in seconds
MOST_AWAY_S, EVERY_S = 30.0, 5.0


@final
class Head:
    """The head of the connected cluster. Ray Client notices its loss by itself, and then is connected no more."""

    def __init__(self, address: str | None) -> None:
        """`address` is what the cluster was joined by."""
        self.through_client = is_through_client()
        self.address = address if self.through_client else ray.get_runtime_context().gcs_address
        #: said by whoever gave up on it; nothing is asked of Ray from then on, which would wait for it or start anew
        self.is_lost = False
        self._cause = "the connection is closed" if self.through_client else ""
        self._looked_s = time.monotonic()
        self._silent_since_s: float | None = None

    def answers(self) -> bool:
        """Whether it takes a connection now."""
        if self.through_client:
            return is_through_client()
        host, _, port = str(self.address).rpartition(":")
        self._looked_s = time.monotonic()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=EVERY_S).close()
        except OSError:
            if self._silent_since_s is None:
                self._silent_since_s = self._looked_s
            return False
        self._silent_since_s = None
        return True

    def is_away(self) -> bool:
        """Whether it has not answered for too long; to be asked again and again."""
        if self.through_client:
            return not self.answers()
        if time.monotonic() - self._looked_s >= EVERY_S:
            self.answers()
        return self._silent_since_s is not None and time.monotonic() - self._silent_since_s > MOST_AWAY_S

    def loss(self, resumption: str) -> str:
        """What to say of its loss, with the command that goes on."""
        why = f" ({self._cause})" if self._cause else ""
        return (
            f"the head of the Ray cluster, {self.address}, does not answer{why}; "
            f"`{resumption}` goes on from the last commit once there is a cluster"
        )

    @contextmanager
    def noticing(self) -> Iterator[None]:
        """For a block that asks something of Ray: ConnectionError when it failed of Ray Client's lost connection.

        Ray Client raises whatever it comes upon then, and what is asked of it afterwards starts a Ray of its own.
        """
        try:
            yield
        except SparsefleetError:
            raise
        except Exception as error:
            if not self.through_client or is_through_client():
                raise
            self.is_lost, self._cause = True, one_line(error) or self._cause
            raise ConnectionError(self._cause) from error


@contextmanager
def ending_without_head(address: str | None, resumption: str) -> Iterator[None]:
    """For a block that waits for Ray in ways of its own, as Tune does: a lost head ends the process, in one line.

    Ray would end it half a minute later, with a line that knows nothing of what was going on. Exit code 1.
    """
    head, is_over = Head(address), threading.Event()

    def watch() -> None:
        while not is_over.wait(EVERY_S):
            if head.is_away() and not is_over.is_set():
                if os.isatty(2):
                    os.write(2, b"\x1b[?25h")  # a progress bar has hidden the cursor
                os.write(2, f"\nerror: {head.loss(resumption)}\n".encode())
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def is_through_client() -> bool:
    """Whether this process is connected to a cluster through Ray Client, and is no member of it."""
    return bool(ray.util.client.ray.is_connected())  # type: ignore[no-untyped-call]
