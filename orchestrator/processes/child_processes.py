"""Starts and ends the processes of a local Ray so that a signal to all processes of a command does not end them.

`scancel` and the end of a Slurm step, `timeout`, systemd and a closed terminal signal all processes of a command. The
command needs Ray's processes until its work has ended in order. Therefore they start with SIGTERM and SIGHUP blocked.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from orchestrator.processes.signals import reinstall_handlers

#: seconds between two looks at the children of a process
_POLL_S = 0.05


@contextmanager
def protected_children() -> Iterator[None]:
    """Start child processes that SIGTERM and SIGHUP do not reach. Reinstalls the signal handlers after the block."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        reinstall_handlers()
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


@contextmanager
def killing_terminated_children() -> Iterator[None]:
    """Kill the protected children to which the block sends SIGTERM.

    Ray ends its processes by SIGTERM, one after another, and waits for each process that does not end. A child that
    received SIGTERM before the block is killed after the first child has ended: Ray's first child must end in order.
    """
    is_over = threading.Event()
    children = [child.pid for child in psutil.Process().children() if not _has_ended(child.pid)]
    terminated_before = set(filter(_has_pending_sigterm, children))

    def watch() -> None:
        while not is_over.wait(_POLL_S):
            is_ending = any(map(_has_ended, children))
            for pid in filter(_has_pending_sigterm, children):
                if is_ending or pid not in terminated_before:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _has_ended(pid: int) -> bool:
    return _status(pid).get("State", "Z").startswith("Z")


def _has_pending_sigterm(pid: int) -> bool:
    """Whether a blocked SIGTERM waits for the process."""
    return bool(int(_status(pid).get("ShdPnd", "0"), 16) >> (signal.SIGTERM - 1) & 1)


def _status(pid: int) -> dict[str, str]:
    """Return what Linux says about a process; nothing for a process that does not exist."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
