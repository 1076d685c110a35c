"""The storage folder, which contains one folder for each run and each sweep. A sweep's folder contains its trials."""

import secrets
from datetime import datetime
from pathlib import Path

from orchestrator.commands import RUN_FILE

#: the file that marks a folder as a sweep's
SWEEP_FILE = "sweep.json"


def unique_name(stem: str) -> str:
    """Return a name for a new run, sweep or job: the stem, the current time and four random hex digits."""
    return f"{stem}-{datetime.now().strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def is_run(folder: Path) -> bool:
    """Return whether a folder belongs to a run; a trial is a run too. Raises OSError when the disk fails."""
    return (folder / RUN_FILE).is_file()


def is_sweep(folder: Path) -> bool:
    """Return whether a folder belongs to a sweep. Raises OSError when the disk fails."""
    return (folder / SWEEP_FILE).is_file()


def is_either(folder: Path) -> bool:
    """Return whether a folder belongs to a run or a sweep."""
    return is_run(folder) or is_sweep(folder)
