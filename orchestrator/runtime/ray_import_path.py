"""Decides from which of the user's folders the workers of a job import."""

import os
import sys
from pathlib import Path
from typing import final

from ray.job_config import JobConfig


@final
class ImportPathJob(JobConfig):
    """The description of a job whose workers import from the same folders of the user as this process.

    Ray would put the current folder in front of the workers' import path, also if this process does not import from
    it. A folder `algorithms` or a file `orchestrator.py` would then replace the package in the workers.
    """

    def __init__(self) -> None:
        super().__init__(_py_driver_sys_path=imported_folders())

    def _runtime_env_has_working_dir(self) -> bool:
        """Return True, so that Ray adds no folder to the import path."""
        return True


def imported_folders() -> list[str]:
    """Return the script's folder and the current folder, if this process searches them before the package's folder.

    A console script and `python -P` search neither, `python script.py` the first, a notebook the second. A job's own
    folder comes after the package in PYTHONPATH, which the workers get too.
    """
    search_path = [os.path.realpath(entry) for entry in sys.path]
    package = str(Path(__file__).resolve().parents[2])
    if package in search_path:
        search_path = search_path[: search_path.index(package) + 1]
    folders = [os.path.dirname(os.path.realpath(sys.argv[0])), os.getcwd()]
    return list(dict.fromkeys(folder for folder in folders if os.path.realpath(folder) in search_path))
