"""Detect that the head of the cluster does not answer, or that the raylet of this machine has died.

Without a head Ray can start, find or end no actor. A process that does not reach the head for 60 s is ended by Ray,
with a message that does not name the run. Ray ends a process without any message a few seconds after its raylet has
died.
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

#: seconds without an answer after which the head counts as lost, and seconds between two checks
MAX_SILENCE_S, CHECK_INTERVAL_S = 30.0, 5.0


@final
class HeadMonitor:
    """Checks whether the head of the connected cluster responds.

    A member of the cluster connects to the head's address. Ray Client notices the loss itself and disconnects.
    `is_lost` is True after the caller has given up on the head. Then no call may be made to Ray any more: the call
    would wait for the head, or start a new local Ray.
    """

    def __init__(self, address: str | None) -> None:
        """`address` is the address by which this process joined the cluster."""
        self.uses_client = is_client_connection()
        self.address = address if self.uses_client else ray.get_runtime_context().gcs_address
        self.is_lost = False
        self._raylet = None if self.uses_client else raylet_address()
        self._cause = "the connection is closed" if self.uses_client else ""
        self._checked_s = time.monotonic()
        self._silent_since_s: float | None = None
        self._raylet_is_dead = False

    def responds(self) -> bool:
        """Check now whether the head accepts a connection, and whether this machine's raylet runs."""
        if self.uses_client:
            return is_client_connection()
        host, _, port = str(self.address).rpartition(":")
        self._checked_s = time.monotonic()
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CHECK_INTERVAL_S).close()
        except OSError:
            if self._silent_since_s is None:
                self._silent_since_s = self._checked_s
            self._has_no_raylet()  # a head that dies with this machine's raylet leaves less time
            return False
        self._silent_since_s = None
        return not self._has_no_raylet()

    def is_unreachable(self) -> bool:
        """Whether the head has not responded for more than MAX_SILENCE_S seconds, or the raylet has died.

        Call this method repeatedly.
        """
        if self.uses_client:
            return not self.responds()
        if time.monotonic() - self._checked_s >= CHECK_INTERVAL_S:
            self.responds()
        if self._raylet_is_dead:
            return True
        return self._silent_since_s is not None and time.monotonic() - self._silent_since_s > MAX_SILENCE_S

    def loss_message(self, resume_command: str) -> str:
        """Return one line that reports the loss and names the command that resumes."""
        if self._raylet_is_dead and self._silent_since_s is None:
            return (
                "the raylet of this machine, Ray's own process, has died; Ray's logs name the cause; "
                f"`{resume_command}` resumes from the last checkpoint"
            )
        why = f" ({self._cause})" if self._cause else ""
        return (
            f"the head of the Ray cluster, {self.address}, does not answer{why}; start the cluster again, then "
            f"`{resume_command}` resumes from the last checkpoint"
        )

    def _has_no_raylet(self) -> bool:
        """Whether the raylet's port is closed. A raylet that is slow keeps its port open."""
        if self._raylet is not None and not self._raylet_is_dead:
            try:
                socket.create_connection(self._raylet, timeout=CHECK_INTERVAL_S).close()
            except ConnectionRefusedError:
                self._raylet_is_dead = True
            except OSError:
                pass
        return self._raylet_is_dead

    @contextmanager
    def detecting_loss(self) -> Iterator[None]:
        """Raise ConnectionError when the block fails because Ray Client has lost its connection.

        Ray Client raises errors of many types in this case. A later call to Ray would start a new local Ray.
        """
        try:
            yield
        except SparsefleetError:
            raise
        except Exception as error:
            if not self.uses_client or is_client_connection():
                raise
            self.is_lost, self._cause = True, one_line(error) or self._cause
            raise ConnectionError(self._cause) from error


@contextmanager
def exiting_when_head_is_lost(address: str | None, resume_command: str) -> Iterator[None]:
    """End the process with exit code 1 and one line when the head is lost while the block runs.

    This is for blocks that wait for Ray by themselves, as Tune does. Without it Ray ends the process half a minute
    later, with a message that does not name the run.
    """
    head, is_over = HeadMonitor(address), threading.Event()

    def watch() -> None:
        while not is_over.wait(CHECK_INTERVAL_S):
            if head.is_unreachable() and not is_over.is_set():
                if os.isatty(2):
                    os.write(2, b"\x1b[?25h")  # show the cursor again, which a progress bar has hidden
                os.write(2, f"\nerror: {head.loss_message(resume_command)}\n".encode())
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        is_over.set()


def raylet_address() -> tuple[str, int] | None:
    """Host and port of the raylet to which this process is connected; None if Ray does not know it."""
    node_id = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["NodeID"] == node_id and node["NodeManagerPort"]:
            return str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])
    return None


def is_client_connection() -> bool:
    """Whether this process is connected through Ray Client, and is not a member of the cluster."""
    return bool(ray.util.client.ray.is_connected())  # type: ignore[no-untyped-call]
