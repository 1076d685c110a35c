"""Files that are there whole or not at all, and what is said when the file system refuses one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator.errors import CheckpointError
from orchestrator.storage.folders import RUN_FILE


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises CheckpointError, as `storing` does, and then leaves nothing of it behind.
    """
    temporary = path.with_name(path.name + ".tmp")
    with storing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError:
            with suppress(OSError):  # the first refusal is the one to tell
                temporary.unlink(missing_ok=True)
            raise
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the names of a folder's files durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Raises CheckpointError where the file system refuses what is done within to a file of a run's folder.

    One line: the file, the cause (no space, a read-only or failing disk) and what to do.
    """
    try:
        yield
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise CheckpointError(f"{path} could not be written ({cause}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    room = "free space, or make that place writable"
    # not `is_run`, which raises when the disk fails: what failed first is what is told
    run = next((folder for folder in path.parents if os.path.isfile(folder / RUN_FILE)), None)
    if run is None:
        return f"{room}, then give the command again"
    return (
        f"all earlier rounds are safe: {room}, then `sparsefleet resume {run}` goes on after the last commit"
    )
