"""The lock of a folder: one process at a time, whose host and process id others can read."""

import json
import os
import socket
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.storage.lock import locked_folder


def test_lock_excludes_a_second_owner(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        with pytest.raises(CheckpointError, match="another process"), locked_folder(tmp_path, patience_s=0.0):
            pass
        with locked_folder(tmp_path, "other.lock"):
            pass
    with locked_folder(tmp_path):
        pass


def test_lock_file_names_the_owner(tmp_path: Path) -> None:
    owner = {"host": socket.gethostname(), "pid": os.getpid()}
    with locked_folder(tmp_path):
        assert json.loads((tmp_path / "lock").read_text()) == owner


def test_failed_attempt_keeps_the_entry_of_the_owner(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        before = (tmp_path / "lock").read_bytes()
        with pytest.raises(CheckpointError), locked_folder(tmp_path, patience_s=0.0):
            pass
        assert (tmp_path / "lock").read_bytes() == before != b""
