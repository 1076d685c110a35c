"""Find the process that has locked a run's or a sweep's folder, and send signals to that process."""

import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil

from orchestrator.errors import SparsefleetError


@dataclass(frozen=True, slots=True)
class LockOwner:
    """The process that has locked a folder; `host` is "" and `pid` 0 when the lock file does not name a process."""

    host: str
    pid: int

    @property
    def is_here(self) -> bool:
        """Whether the process runs on this machine, so that `signal_owner` can reach it."""
        return self.host == socket.gethostname() and self.pid > 0

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid}" if self.host else "a process that the lock file does not name"


def lock_owner(folder: Path) -> LockOwner | None:
    """Return the process that locks the folder now; None when the folder is not locked.

    The lock file keeps its entry after its process ends, and the system reuses process ids. A process of this machine
    therefore counts only if it has the lock file open.
    """
    lock = folder / "lock"
    if not lock.is_file():
        return None
    named = _read_entry(lock)
    if named.is_here:
        has_open = _has_open(named.pid, lock)
        if has_open is not None:
            return named if has_open else (LockOwner("", 0) if _is_locked(lock) else None)
    return named if _is_locked(lock) else None


def _read_entry(lock: Path) -> LockOwner:
    try:
        content = json.loads(lock.read_bytes())
        return LockOwner(str(content["host"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return LockOwner("", 0)


def _has_open(pid: int, lock: Path) -> bool | None:
    """Return whether a process has the file open; None when this user may not read that."""
    try:
        return str(lock.resolve()) in {file.path for file in psutil.Process(pid).open_files()}
    except psutil.AccessDenied:
        return None
    except (psutil.NoSuchProcess, OSError):
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


def signal_owner(owner: LockOwner, signal_number: int) -> None:
    """Send a signal to a process of this machine; do nothing if the process has ended.

    Raises SparsefleetError when the process belongs to another user.
    """
    try:
        os.kill(owner.pid, signal_number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise SparsefleetError(f"{owner} belongs to another user; stop it as that user") from error
