"""Decides from which of the user's folders the workers of a job import."""

import os
import sys
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
    """Return the script's folder and the current folder, without those from which this process does not import.

    A console script and `python -P` import from neither, `python script.py` from the first, a notebook from the second.
    """
    folders = [os.path.dirname(os.path.realpath(sys.argv[0])), os.getcwd()]
    search_path = {os.path.realpath(entry) for entry in sys.path}
    return list(dict.fromkeys(folder for folder in folders if os.path.realpath(folder) in search_path))
