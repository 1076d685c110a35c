"""Read YAML files, presets and dotted `KEY=VALUE` overrides into a nested mapping."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from orchestrator.commands import command_line
from orchestrator.config.presets import preset_path
from orchestrator.config.yaml import MAX_BYTES, load_settings, read_setting
from orchestrator.errors import ConfigError

#: longest excerpt of a parser's message, in characters
_LONGEST = 300
#: start of an assignment to a config key; a path such as ./a=b.py does not match
_ASSIGNMENT = re.compile(r"\w+(\.\w+)*=")


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the nested mapping in a YAML file. Raises ConfigError when the file contains no mapping."""
    try:
        with file.open("rb") as source:
            content = load_settings(source.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(
            "--config", file, f"cannot be read ({error.strerror})", "name a YAML file that you can read"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("--config", file, "is not text", "name a YAML file in UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = f"is not YAML ({shorten(str(error), _LONGEST, placeholder='...')})"
        raise ConfigError("--config", file, problem, "correct the file") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError("--config", file, "does not contain a mapping", "write `section: {key: value}`")
    return content


def read_configs(sources: Sequence[Path | str], folder: Path = Path()) -> dict[str, Any]:
    """Return the merged mappings of config files and presets (`preset:NAME`); the values of later sources win.

    Relative paths start in `folder`. Raises ConfigError as `read_yaml` and `preset_path` do.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        merged = merge(merged, read_yaml(preset_path(str(source)) or folder / source))
    return merged


def merge(tree: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping with the values of another one; only mappings are merged, lists replace."""
    merged = deepcopy(dict(tree))
    for key, value in later.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(before, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a nested mapping with each `a.b=value` set. Raises ConfigError as `parse_overrides`."""
    return put_values(tree, parse_overrides(overrides))


def put_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a nested mapping with each dotted key set to its value.

    Raises ConfigError when a part of a key is a value, not a section.
    """
    changed = deepcopy(dict(tree))
    for key, value in values.items():
        _set(changed, key, deepcopy(value))
    return changed


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the value of each `a.b=value` by its dotted key; the last value of a key wins. Raises ConfigError.

    Write lists and mappings in brackets, as in YAML. The type of the key decides how any other value is read.
    """
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(
                "KEY=VALUE", override, "this is not an assignment", "write a dotted key, =, and a value"
            )
        if not text.isascii() and text.encode(errors="replace").decode() != text:
            raise ConfigError(key, ascii(text), "this is not text", "write it in UTF-8")
        values[key] = read_setting(text)
    return values


def split_name(name: str | None, overrides: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return a command's optional name and its overrides, when the name may be the first `KEY=VALUE` instead."""
    if name is None or _ASSIGNMENT.match(name) is None:
        return name, list(overrides)
    return None, [name, *overrides]


def method_options(sources: Sequence[Path | str]) -> list[str]:
    """Return the sections `algorithm` and `sparsity` of config files as overrides, without the method's name."""
    kept = {key: value for key, value in read_configs(sources).items() if key in ("algorithm", "sparsity")}
    return [f"{key}={json.dumps(value)}" for key, value in flatten(kept).items() if key != "algorithm.name"]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaf values of a nested mapping by dotted key; an empty mapping is a leaf."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, dotted)
        else:
            flat[dotted] = value
    return flat


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for depth, section in enumerate(sections):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            problem = f"{'.'.join(sections[: depth + 1])} is a value, not a section"
            raise ConfigError(key, value, problem, f"see `{command_line('list', 'keys')}`")
        tree = inner
    tree[last] = value
