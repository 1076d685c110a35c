"""The command lines that messages tell the user to run. They work in the user's current folder and shell."""

import os
import shlex
import shutil
import sys
from pathlib import Path

#: the file that marks a folder as a run's
RUN_FILE = "run.json"
_NAME = "sparsefleet"


def command_line(*arguments: object) -> str:
    """Return `sparsefleet ARGUMENTS`, quoted for a shell."""
    return shlex.join([_program(), *map(str, arguments)])


def resume_line(folder: Path | str) -> str:
    """Return the command that resumes the run in a folder. The folder works with every storage folder."""
    return command_line("resume", folder)


def line_to_resume(file: Path) -> str | None:
    """Return the command that resumes the run whose folder contains a file; None when the file belongs to no run."""
    # os.path does not raise on a failing disk, so that the caller's own error stays the first one
    run = next((folder for folder in file.parents if os.path.isfile(folder / RUN_FILE)), None)
    return None if run is None else resume_line(run)


def resume_sweep_line(folder: Path | str) -> str:
    """Return the command that resumes the sweep in a folder."""
    return command_line("sweep", folder, "--resume")


def _program() -> str:
    """Return the installed script: by its path if the user called it so, or if PATH does not contain it."""
    called, installed = Path(sys.argv[0]), Path(sys.executable).with_name(_NAME)
    if called.name == _NAME:
        return str(called)
    return str(installed) if shutil.which(_NAME) is None and installed.is_file() else _NAME
