"""The storage folder, which contains one folder for each run and each sweep. A sweep's folder contains its trials."""

import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from orchestrator.errors import ConfigError

#: the file that marks a folder as a run's, and the file that marks it as a sweep's
RUN_FILE, SWEEP_FILE = "run.json", "sweep.json"


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


def find_folder(name: str, storage: Path, wanted: Callable[[Path], bool] = is_either) -> Path | None:
    """Return the absolute folder of a run, trial or sweep, given by id or path; None when there is none.

    `wanted` decides which kinds of folders count.
    """
    places = [Path(name), storage / name]
    if name and name == Path(name).name:
        places += [file.parent / name for file in storage.glob(f"*/{SWEEP_FILE}")]
    return next((folder.resolve() for folder in places if wanted(folder)), None)


def find_run(name: str, storage: Path) -> Path:
    """Return the folder of a run or trial, given by id or path. Raises ConfigError when there is none."""
    if (folder := find_folder(name, storage, is_run)) is not None:
        return folder
    problem = f"there is no such run, neither at that path nor in {storage}"
    raise ConfigError("RUN", name, problem, "name a run's folder, or set runtime.storage")
