"""The description of a run: `config.yaml`, and `run.json` with id, fingerprints, versions, tags and git commit.

A run keeps the format of the release that started it (`format` in run.json; runs without this entry have format 1).
Readers get the config in today's format. A resumed run changes only the keys that it may change, so that the digest
of all other keys stays valid.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from orchestrator.atomic_write import write_durably
from orchestrator.commands import RUN_FILE
from orchestrator.config.formats import CONFIG_FORMATS, ConfigFormats
from orchestrator.config.overrides import put_values
from orchestrator.config.yaml import load_yaml
from orchestrator.errors import CheckpointError

CONFIG_FILE = "config.yaml"
#: key of run.json for the format of config.yaml
FORMAT_KEY = "format"
#: keys of run.json whose values must be mappings; `verify_run` checks the fingerprints
_MAPPINGS = ("packages", "tags")


def write_description(folder: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write config.yaml and run.json into a run's folder."""
    _write_config(folder, config)
    write_about(folder, about)


def write_about(folder: Path, about: Mapping[str, Any]) -> None:
    """Write run.json."""
    write_durably(folder / RUN_FILE, json.dumps(dict(about), indent=2).encode())


def change_config(folder: Path, values: Mapping[str, Any]) -> None:
    """Set dotted keys in config.yaml, and leave all other keys as they are. Write nothing if no value changes."""
    before = read_stored_config(folder)
    if (after := put_values(before, values)) != before:
        _write_config(folder, after)


def _write_config(folder: Path, config: Mapping[str, Any]) -> None:
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    write_durably(folder / CONFIG_FILE, text.encode())


def read_about(folder: Path) -> dict[str, Any]:
    """Return the content of run.json. Raises CheckpointError when this release cannot read it."""
    about = _read_mapping(folder / RUN_FILE, json.loads)
    run_format(folder, about)
    for key in _MAPPINGS:
        if not isinstance(about.get(key, {}), dict):
            raise CheckpointError(f"{folder / RUN_FILE}: {key} is not a mapping; the run cannot be resumed")
    return about


def read_config(folder: Path, formats: ConfigFormats = CONFIG_FORMATS) -> dict[str, Any]:
    """Return the config in the latest of `formats`.

    Raises CheckpointError when config.yaml or run.json cannot be read, and ConfigError for a removed key.
    """
    stored = read_stored_config(folder)
    return formats.migrate(stored, run_format(folder, read_about(folder), formats))


def read_stored_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.yaml in the format of the run. Raises CheckpointError when it cannot be read."""
    return _read_mapping(folder / CONFIG_FILE, load_yaml)


def run_format(folder: Path, about: Mapping[str, Any], formats: ConfigFormats = CONFIG_FORMATS) -> int:
    """Return the format of a run's config. Raises CheckpointError for a format that `formats` does not contain."""
    version = about.get(FORMAT_KEY, 1)
    if type(version) is int and 1 <= version <= formats.latest:
        return version
    release = about.get("packages", {}).get("sparsefleet", "a later one")
    raise CheckpointError(
        f"{folder / RUN_FILE}: {FORMAT_KEY} is {version}, and this release reads formats up to {formats.latest}; "
        f"use the release that started the run ({release})"
    )


def _read_mapping(path: Path, load: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        content = load(path.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        problem = shorten(str(error), 300, placeholder="...")
        raise CheckpointError(f"{path} cannot be read ({problem}); the run cannot be resumed") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not contain a mapping; the run cannot be resumed")
    return content
