"""Who holds a folder: the process that really does, whatever the file still says."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.storage.lock import held
from orchestrator.storage.lock_owner import LockOwner, lock_owner, signal_owner
from tests.support.locking import locking


def _name(folder: Path, host: str, pid: int) -> None:
    (folder / "lock").write_text(json.dumps({"host": host, "pid": pid}))


def test_a_folder_without_a_lock_is_free(tmp_path: Path) -> None:
    assert lock_owner(tmp_path) is None


def test_the_process_that_holds_it_is_named(tmp_path: Path) -> None:
    with locking(tmp_path) as process:
        found = lock_owner(tmp_path)
        assert found == LockOwner(socket.gethostname(), process.pid)
        assert found.is_here
        assert str(found) == f"{socket.gethostname()} pid {process.pid}"
    assert lock_owner(tmp_path) is None, "it has ended, though the file still names it"


def test_a_process_that_only_has_the_number_of_the_holder_is_not_it(tmp_path: Path) -> None:
    """Ids are used again: this very process has the id in the file, but not the file."""
    _name(tmp_path, socket.gethostname(), os.getpid())
    assert lock_owner(tmp_path) is None


def test_a_lock_that_names_an_old_holder_is_held_by_somebody(tmp_path: Path) -> None:
    with locking(tmp_path):
        _name(tmp_path, socket.gethostname(), 2**22 + 1)
        found = lock_owner(tmp_path)
        assert found is not None
        assert not found.is_here
        assert str(found) == "a process that the lock does not name"


def test_a_lock_that_says_nothing_may_still_be_held(tmp_path: Path) -> None:
    with locking(tmp_path):
        (tmp_path / "lock").write_text("")
        assert lock_owner(tmp_path) == LockOwner("", 0)
    assert lock_owner(tmp_path) is None


def test_a_holder_on_another_machine_cannot_be_signalled(tmp_path: Path) -> None:
    with locking(tmp_path):
        _name(tmp_path, "elsewhere", 7)
        found = lock_owner(tmp_path)
        assert found == LockOwner("elsewhere", 7)
        assert not found.is_here
    assert lock_owner(tmp_path) is None


def test_a_run_holds_its_folder_for_others_to_see(tmp_path: Path) -> None:
    here = LockOwner(socket.gethostname(), os.getpid())
    with held(tmp_path):
        assert lock_owner(tmp_path) == here
        with pytest.raises(CheckpointError, match="is in use by another process"), held(tmp_path):
            pass
        assert lock_owner(tmp_path) == here, "whoever was refused has not written over it"
    assert lock_owner(tmp_path) is None


def test_a_process_that_has_just_ended_needs_no_signal() -> None:
    signal_owner(LockOwner(socket.gethostname(), 2**22 + 1), signal.SIGINT)
