"""Whether the cluster's head is there.

Without it nothing can be started, found or ended, and Ray ends a process that has not reached it for 60 s, with a line
that knows nothing of runs.
"""

import socket
import time
from typing import final

import ray

#: how long it may be away, and how often it is looked for, in seconds
MOST_AWAY_S, EVERY_S = 30.0, 5.0


@final
class Head:
    """The head of the connected cluster; Ray Client notices by itself, so that through it the head counts as there."""

    def __init__(self, address: str | None) -> None:
        """`address` is what the cluster was joined by."""
        self.through_client = ray.util.client.ray.is_connected()  # type: ignore[no-untyped-call]
        self.address = address if self.through_client else ray.get_runtime_context().gcs_address
        #: said by whoever gave up on it; nothing is asked of Ray from then on, which would wait for it or start anew
        self.is_lost = False
        self._looked_s = self._seen_s = time.monotonic()

    def answers(self) -> bool:
        """Whether it takes a connection now."""
        if self.through_client:
            return True
        host, _, port = str(self.address).rpartition(":")
        self._looked_s = time.monotonic()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=EVERY_S).close()
        except OSError:
            return False
        self._seen_s = time.monotonic()
        return True

    def is_away(self) -> bool:
        """Whether it has not answered for too long; to be asked again and again."""
        if time.monotonic() - self._looked_s >= EVERY_S:
            self.answers()
        return time.monotonic() - self._seen_s > MOST_AWAY_S
