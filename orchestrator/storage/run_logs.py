"""The logs of a run, which are valid only together with the checkpoints that record their lengths."""

import os
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from orchestrator.atomic_write import PRIVATE_FILE, append_durably, explained_write
from orchestrator.storage.checkpoints.pointer import Pointer
from orchestrator.storage.checkpoints.state_file import DamagedFileError, unreadable

METRICS = "metrics.jsonl"
LOGS = (METRICS, "events.jsonl", "failures.jsonl")

_SHORTER = "is shorter than its last checkpoint says"


class DamagedLogError(DamagedFileError):
    """A log is missing, or lines that a checkpoint covers are missing or changed."""


def append_to_logs(
    folder: Path, log_lines: Mapping[str, Iterable[str]]
) -> tuple[dict[str, int], dict[str, str]]:
    """Append the lines of a round to the logs in a run's folder.

    Returns the new length of each log in bytes, and the SHA-256 of the lines that were added to each log.
    Raises CheckpointError when the file system rejects a write.
    """
    added = {name: "".join(f"{line}\n" for line in lines).encode() for name, lines in log_lines.items()}
    lengths = {name: append_durably(folder / name, data) for name, data in added.items()}
    return lengths, {name: sha256(data).hexdigest() for name, data in added.items()}


def log_lengths(folder: Path) -> dict[str, int]:
    """Return the length of each log in bytes; 0 for a log that does not exist."""
    paths = {name: folder / name for name in LOGS}
    return {name: path.stat().st_size if path.exists() else 0 for name, path in paths.items()}


def truncate_logs(folder: Path, log_bytes: Mapping[str, int]) -> None:
    """Remove the lines that no checkpoint covers. A log without an entry in `log_bytes` becomes empty.

    No log becomes longer. Raises DamagedLogError for a log that is shorter than its entry.
    """
    for name in LOGS:
        path, length = folder / name, log_bytes.get(name, 0)
        with explained_write(path):
            path.touch(PRIVATE_FILE)
            if path.stat().st_size < length:
                raise DamagedLogError(path, _SHORTER)
            os.truncate(path, length)


def verify_logs(folder: Path, pointer: Pointer, previous_bytes: Mapping[str, int]) -> None:
    """Check the lines that the pointer's round added; `previous_bytes` are the lengths before that round.

    Raises DamagedLogError when these lines differ, or when the log lacks any line that a checkpoint covers.
    """
    for name, length in pointer.log_bytes.items():
        path, start = folder / name, previous_bytes.get(name, 0)
        try:
            with path.open("rb") as file:
                is_shorter = file.seek(0, os.SEEK_END) < length
                file.seek(start)
                added = file.read(max(0, length - start))
        except OSError as error:
            problem = unreadable(path, error)
            if isinstance(problem, DamagedFileError):
                raise DamagedLogError(path, problem.problem) from error
            raise problem from error
        if is_shorter:
            raise DamagedLogError(path, _SHORTER)
        found = sha256(added).hexdigest()
        if pointer.log_sha256.get(name, found) != found:
            raise DamagedLogError(path, f"has other lines than round {pointer.round_idx} wrote")


def has_several_rounds(folder: Path) -> bool:
    """Return whether `metrics.jsonl` has more lines than the one round that a kill can leave without a checkpoint."""
    metrics = folder / "metrics.jsonl"
    return metrics.exists() and metrics.read_bytes().count(b"\n") > 1
