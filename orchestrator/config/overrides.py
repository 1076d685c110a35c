"""From a YAML file and dotted `KEY=VALUE` overrides to a checked config."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import date
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from orchestrator.config.yaml import MAX_BYTES, load_yaml
from orchestrator.errors import ConfigError

#: characters of what a parser has to say
_LONGEST = 300


def read_yaml(file: Path) -> dict[str, Any]:
    """The nested mapping in a YAML file. Raises ConfigError when it cannot be read or is none."""
    try:
        with file.open("rb") as source:
            content = load_yaml(source.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(
            "--config", file, f"cannot be read ({error.strerror})", "name a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("--config", file, "is not text", "name a YAML file in UTF-8") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = f"is not YAML ({shorten(str(error), _LONGEST, placeholder='...')})"
        raise ConfigError("--config", file, problem, "correct it") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError("--config", file, "does not hold a mapping", "write `section: {key: value}`")
    return content


def apply_overrides(tree: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a nested mapping with each `a.b=value` put in; values are read as YAML."""
    return put_values(tree, parse_overrides(overrides))


def put_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping with each dotted key set to its value. Raises ConfigError as `apply_overrides`."""
    changed = deepcopy(dict(tree))
    for key, value in values.items():
        _put(changed, key, deepcopy(value))
    return changed


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Dotted key -> value of each `a.b=value`, read as YAML; the last one counts. Raises ConfigError."""
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(
                "KEY=VALUE", override, "this is no assignment", "write a dotted key, =, and a value"
            )
        if not text.isascii() and text.encode(errors="replace").decode() != text:
            raise ConfigError(key, ascii(text), "this is not text", "write it in UTF-8")
        values[key] = _value(text)
    return values


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> leaf value of a nested mapping; an empty mapping is a leaf."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, dotted)
        else:
            flat[dotted] = value
    return flat


def _value(text: str) -> Any:
    """A value as YAML reads it, but as it was written where reading loses that: 007, 1.50, a date."""
    try:
        return _as_written(load_yaml(text), yaml.load(text, Loader=yaml.BaseLoader))
    except (yaml.YAMLError, ValueError):
        return text


def _as_written(value: Any, text: Any) -> Any:
    if isinstance(value, list) and isinstance(text, list):
        return [_as_written(inner, word) for inner, word in zip(value, text, strict=True)]
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value if isinstance(value, bool) or str(value) == text else text
    return text if isinstance(value, date) else value


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for depth, section in enumerate(sections):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            problem = f"{'.'.join(sections[: depth + 1])} is a value, not a section"
            raise ConfigError(key, value, problem, "see `sparsefleet list keys`")
        tree = inner
    tree[last] = value
