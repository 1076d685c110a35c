"""Atomic and durable file writes, with a clear error when the file system fails.

Only the user who runs the command can read these files, because a config, a log or a traceback may show private text.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from orchestrator.commands import line_to_resume
from orchestrator.errors import CheckpointError

#: modes of files and folders that only their owner can read
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def open_private(path: Path, mode: str) -> IO[bytes]:
    """Open a binary file; a file that does not exist is created with mode 600."""
    return open(path, mode, opener=lambda name, flags: os.open(name, flags, PRIVATE_FILE))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file atomically and durably: after a crash, the file has the old content or the new content.

    Raises OSError when the file system rejects the write. The old file then stays, and no temporary file remains.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open_private(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        with suppress(OSError):  # report the first error, not the failed clean-up
            temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def write_durably(path: Path, data: bytes) -> None:
    """Call `replace_file` for a file of a run's folder. Raises CheckpointError as `explained_write` does."""
    with explained_write(path):
        replace_file(path, data)


def append_durably(path: Path, data: bytes) -> int:
    """Append to a file of a run's folder, wait for the disk, and return the new length in bytes.

    Raises CheckpointError as `explained_write` does.
    """
    with explained_write(path), open_private(path, "ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def fsync_folder(folder: Path) -> None:
    """Make new file names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained_write(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a CheckpointError of one line.

    The line names the file, the cause (for example no space left on the device) and the remedy.
    """
    try:
        yield
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise CheckpointError(f"{path} could not be written ({cause}); {_remedy(path)}") from error


def _remedy(path: Path) -> str:
    action = "free space, or make the folder writable"
    resumption = line_to_resume(path)
    if resumption is None:
        return f"{action}, then run the command again"
    return f"all earlier rounds are safe: {action}, then `{resumption}`"
