"""The description of a run: `config.yaml`, and `run.json` with id, fingerprints, versions, tags and git commit."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from orchestrator.atomic_write import write_durably
from orchestrator.config.yaml import load_yaml
from orchestrator.errors import CheckpointError
from orchestrator.storage.folders import RUN_FILE

CONFIG_FILE = "config.yaml"
#: keys of run.json whose values must be mappings; `verify_run` checks the fingerprints
_MAPPINGS = ("packages", "tags")


def write_description(folder: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Write config.yaml and run.json into a run's folder."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    write_durably(folder / CONFIG_FILE, text.encode())
    write_durably(folder / RUN_FILE, json.dumps(dict(about), indent=2).encode())


def read_about(folder: Path) -> dict[str, Any]:
    """Return the content of run.json. Raises CheckpointError when run.json cannot be read."""
    about = _read_mapping(folder / RUN_FILE, json.loads)
    for key in _MAPPINGS:
        if not isinstance(about.get(key, {}), dict):
            raise CheckpointError(f"{folder / RUN_FILE}: {key} is not a mapping; the run cannot be resumed")
    return about


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.yaml. Raises CheckpointError when config.yaml cannot be read."""
    return _read_mapping(folder / CONFIG_FILE, load_yaml)


def _read_mapping(path: Path, load: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        content = load(path.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        problem = shorten(str(error), 300, placeholder="...")
        raise CheckpointError(f"{path} cannot be read ({problem}); the run cannot be resumed") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not contain a mapping; the run cannot be resumed")
    return content
