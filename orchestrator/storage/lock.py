"""The lock of a run's or a sweep's folder."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.errors import CheckpointError
from orchestrator.storage.atomic_write import storing


@contextmanager
def held(folder: Path, name: str = "lock", *, patience_s: float = 1.0) -> Iterator[None]:
    """Hold a run's or a sweep's folder for this process, and say in its lock which one that is.

    Raises CheckpointError when another one has it, for longer than whoever only looks whether it is held.
    """
    path = folder / name
    with storing(path):
        file = path.open("a")  # what the holder wrote outlives whoever is refused
    with file:
        _lock(file, folder, patience_s)
        with storing(path):
            file.truncate(0)
            json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
            file.flush()
        yield


def _lock(file: IO[str], folder: Path, patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise CheckpointError(f"{folder} is in use by another process; wait until it ends") from error
            time.sleep(0.05)
