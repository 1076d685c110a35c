"""The owner of a lock is the process that locks the file now, even if the file names another process."""

import json
import os
import signal
import socket
from pathlib import Path

from orchestrator.storage.lock import locked_folder
from orchestrator.storage.lock_owner import LockOwner, lock_owner, signal_owner
from tests.support.locking import locking


def _write_entry(folder: Path, host: str, pid: int) -> None:
    (folder / "lock").write_text(json.dumps({"host": host, "pid": pid}))


def test_folder_without_a_lock_file_has_no_owner(tmp_path: Path) -> None:
    assert lock_owner(tmp_path) is None


def test_owner_is_the_process_that_locks_the_folder(tmp_path: Path) -> None:
    with locking(tmp_path) as process:
        found = lock_owner(tmp_path)
        assert found == LockOwner(socket.gethostname(), process.pid)
        assert found.is_here
        assert str(found) == f"{socket.gethostname()} pid {process.pid}"
    assert lock_owner(tmp_path) is None, "the process has ended, but the file still names it"


def test_process_with_a_reused_id_is_not_the_owner(tmp_path: Path) -> None:
    """The lock file contains the id of this process, which does not have the file open."""
    _write_entry(tmp_path, socket.gethostname(), os.getpid())
    assert lock_owner(tmp_path) is None


def test_owner_is_unknown_when_the_file_names_an_ended_process(tmp_path: Path) -> None:
    with locking(tmp_path):
        _write_entry(tmp_path, socket.gethostname(), 2**22 + 1)
        found = lock_owner(tmp_path)
        assert found is not None
        assert not found.is_here
        assert found == LockOwner("", 0)


def test_owner_is_unknown_when_the_file_is_empty(tmp_path: Path) -> None:
    with locking(tmp_path):
        (tmp_path / "lock").write_text("")
        assert lock_owner(tmp_path) == LockOwner("", 0)
    assert lock_owner(tmp_path) is None


def test_owner_on_another_machine_is_not_here(tmp_path: Path) -> None:
    with locking(tmp_path):
        _write_entry(tmp_path, "elsewhere", 7)
        found = lock_owner(tmp_path)
        assert found == LockOwner("elsewhere", 7)
        assert not found.is_here
    assert lock_owner(tmp_path) is None


def test_owner_is_this_process_while_it_locks_the_folder(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        assert lock_owner(tmp_path) == LockOwner(socket.gethostname(), os.getpid())
    assert lock_owner(tmp_path) is None


def test_signal_to_an_ended_process_does_nothing() -> None:
    signal_owner(LockOwner(socket.gethostname(), 2**22 + 1), signal.SIGINT)
