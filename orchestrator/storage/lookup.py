"""The one rule by which every command finds runs, trials and sweeps.

The storage folder is the first of these that the user gives:

1. `runtime.storage=DIR` among the arguments,
2. the option `--storage DIR`,
3. `runtime.storage` in the file of `-c FILE`,
4. `runs` in the current folder.

A name is the path of a folder, or an id in the storage folder. The id of a trial is found in all sweeps there. The name
of a search space stands for its newest sweep.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.config.errors import as_request_error
from orchestrator.config.overrides import parse_overrides
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ConfigError
from orchestrator.storage.folders import SWEEP_FILE, is_either, is_run, is_sweep

STORAGE_KEY = "runtime.storage"
_PREFIX = f"{STORAGE_KEY}="
_REMEDY = f"give a folder's path, or the storage folder with --storage DIR or {_PREFIX}DIR"


def storage_folder(
    option: Path | None = None, overrides: Sequence[str] = (), config: Mapping[str, Any] | None = None
) -> Path:
    """Return the storage folder for the option, the `KEY=VALUE` arguments and the content of a config file.

    Raises ConfigError for a value that is not a path.
    """
    given = parse_overrides([override for override in overrides if override.startswith(_PREFIX)])
    section = (config or {}).get("runtime")
    in_file = section.get("storage") if isinstance(section, Mapping) else None
    choices = (given.get(STORAGE_KEY), option, in_file, Path("runs"))
    try:
        return RuntimeConfig(storage=next(choice for choice in choices if choice is not None)).storage
    except ValidationError as error:
        raise as_request_error(error, RuntimeConfig, "runtime") from error


def split_storage_key(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments that are not `runtime.storage=DIR`, and those that are."""
    others = [argument for argument in arguments if not argument.startswith(_PREFIX)]
    return others, [argument for argument in arguments if argument.startswith(_PREFIX)]


def only_storage_key(arguments: Sequence[str]) -> list[str]:
    """Return the arguments. Raises ConfigError for an argument that is not `runtime.storage=DIR`."""
    others, keys = split_storage_key(arguments)
    for argument in others:
        key, _, value = argument.partition("=")
        problem = "this command uses no other config key than runtime.storage"
        raise ConfigError(key, value, problem, f"leave it out, or give {_PREFIX}DIR")
    return keys


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
    raise ConfigError("RUN", name, f"there is no such run, neither at that path nor in {storage}", _REMEDY)


def find_sweep(name: str, storage: Path) -> Path:
    """Find a sweep by its id, its path, or its space (the newest sweep of the space). Raises ConfigError."""
    if (folder := find_folder(name, storage, is_sweep)) is not None:
        return folder
    matches = [file.parent for file in storage.glob(f"*/{SWEEP_FILE}") if name in _space_names(file)]
    if matches:
        return max(matches, key=lambda folder: (folder / SWEEP_FILE).stat().st_mtime).resolve()
    problem = f"there is no sweep at this path, and none with this id or space in {storage}"
    raise ConfigError("SWEEP", name, problem, _REMEDY)


def _space_names(file: Path) -> tuple[str, ...]:
    """Return the name of a sweep's space, and the space as the user named it; empty for an unreadable file."""
    try:
        about = json.loads(file.read_bytes())
        return str(about["space"]), str(about["request"]["space"])
    except (OSError, ValueError, KeyError, TypeError):
        return ()
