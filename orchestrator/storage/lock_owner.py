"""Which process holds a run's or a sweep's folder, and whether it still does."""

import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SparsefleetError


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The process that holds a folder's lock; `host` is "" and `pid` 0 where the lock does not say."""

    host: str
    pid: int

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine that can be signalled."""
        return self.host == socket.gethostname() and self.pid > 0

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}" if self.host else "a process that the lock does not name"


def lock_owner(folder: Path) -> LockOwner | None:
    """Who holds the folder now; None when nobody does, whatever the lock file still says.

    A process of this machine that is named there must have the file open: process ids are used again.
    """
    lock = folder / "lock"
    if not lock.is_file():
        return None
    named = _named(lock)
    if named.is_here and Path("/proc/self/fd").is_dir():
        has_open = _has_open(named.pid, lock)
        if has_open is not None:
            return named if has_open else (LockOwner("", 0) if _is_locked(lock) else None)
    return named if _is_locked(lock) else None


def _named(lock: Path) -> LockOwner:
    try:
        content = json.loads(lock.read_bytes())
        return LockOwner(str(content["host"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return LockOwner("", 0)


def _has_open(pid: int, lock: Path) -> bool | None:
    """Whether a process has the file open; None where its files may not be looked at."""
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
        mine = lock.stat()
    except PermissionError:
        return None
    except OSError:
        return False
    for link in opened:
        try:
            found = link.stat()
        except OSError:
            continue
        if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
            return True
    return False


def _is_locked(lock: Path) -> bool:
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def signal_owner(found: LockOwner, signal_number: int) -> None:
    """Send a signal to a process of this machine; one that has just ended is as good.

    Raises SparsefleetError when it belongs to another user.
    """
    try:
        os.kill(found.pid, signal_number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise SparsefleetError(f"{found} belongs to another user; stop it as that user") from error
