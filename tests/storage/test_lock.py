"""The lock of a folder: one process at a time, whose host and process id others can read."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.storage.lock import locked_folder, new_locked_folder


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


class TestNewFolder:
    """`new_locked_folder`."""

    def test_folder_is_locked_from_the_start(self, tmp_path: Path) -> None:
        with new_locked_folder(tmp_path / "deep" / "run"):
            assert [path.name for path in (tmp_path / "deep" / "run").iterdir()] == ["lock"]
            with pytest.raises(CheckpointError), locked_folder(tmp_path / "deep" / "run", patience_s=0.0):
                pass

    def test_existing_folder_stays_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("seed: 3")
        with pytest.raises(CheckpointError, match="exists already"), new_locked_folder(tmp_path):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]

    def test_one_of_several_processes_gets_the_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "run"
        processes = [
            subprocess.Popen([sys.executable, "-c", _TAKE_FOLDER, str(folder)], stdout=subprocess.PIPE)
            for _ in range(4)
        ]
        outcomes = [process.communicate()[0].decode().split() for process in processes]
        assert sorted(outcome[0] for outcome in outcomes) == ["began", "rejected", "rejected", "rejected"]
        (pid,) = [outcome[1] for outcome in outcomes if outcome[0] == "began"]
        assert (folder / "config.yaml").read_text() == pid


#: takes the folder in its argument, and writes its process id there
_TAKE_FOLDER = """
import os, sys
from pathlib import Path
from orchestrator.errors import CheckpointError
from orchestrator.storage.lock import new_locked_folder

folder = Path(sys.argv[1])
try:
    with new_locked_folder(folder):
        (folder / "config.yaml").write_text(str(os.getpid()))
    print("began", os.getpid())
except CheckpointError:
    print("rejected", os.getpid())
"""
