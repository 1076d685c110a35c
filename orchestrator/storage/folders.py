"""The storage folder: each run and each sweep has a folder of its own in it, a sweep's trials inside the sweep's."""

from collections.abc import Callable
from pathlib import Path

#: what makes a folder a run's, and what makes it a sweep's
RUN_FILE, SWEEP_FILE = "run.json", "sweep.json"


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, a trial's too. Raises OSError when the disk fails to say."""
    return (folder / RUN_FILE).is_file()


def is_sweep(folder: Path) -> bool:
    """Whether a folder is a sweep's. Raises OSError when the disk fails to say."""
    return (folder / SWEEP_FILE).is_file()


def is_either(folder: Path) -> bool:
    """Whether a folder is a run's or a sweep's."""
    return is_run(folder) or is_sweep(folder)


def find_folder(name: str, storage: Path, wanted: Callable[[Path], bool] = is_either) -> Path | None:
    """The folder of a run, a trial or a sweep named by its id or by a path, as an absolute one; None: there is none."""
    places = [Path(name), storage / name]
    if name and name == Path(name).name:
        places += [file.parent / name for file in storage.glob(f"*/{SWEEP_FILE}")]
    return next((folder.resolve() for folder in places if wanted(folder)), None)
