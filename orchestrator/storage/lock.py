"""The lock of a run's or a sweep's folder. A process writes into such a folder only while it has the lock."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.atomic_write import PRIVATE_FOLDER, explained_write, open_private
from orchestrator.errors import CheckpointError


@contextmanager
def locked_folder(folder: Path, name: str = "lock", *, patience_s: float = 1.0) -> Iterator[None]:
    """Lock a run's or a sweep's folder for this process, and write host and process id into the lock file.

    Raises CheckpointError when another process has locked the folder for `patience_s` seconds. A shorter wait would
    collide with processes that lock the file for a moment to see whether it is free.
    """
    path = folder / name
    with explained_write(path):
        # "wb" would erase the owner's entry even when this process does not get the lock
        file = open_private(path, "ab")
    with file:
        _lock(file, folder, patience_s)
        with explained_write(path):
            file.truncate(0)
            file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
            file.flush()
        yield


@contextmanager
def new_locked_folder(folder: Path) -> Iterator[None]:
    """Create the folder of a new run or sweep, and lock it for this process.

    Raises CheckpointError when the folder exists, because it then belongs to another process.
    """
    with explained_write(folder):
        try:
            folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
        except FileExistsError as error:
            raise CheckpointError(
                f"{folder} exists already, so another process has started it; run the command again"
            ) from error
    with locked_folder(folder):
        yield


def _lock(file: IO[bytes], folder: Path, patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise CheckpointError(f"{folder} is in use by another process; wait until it ends") from error
            time.sleep(0.05)
