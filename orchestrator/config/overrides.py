"""From a YAML file and dotted `KEY=VALUE` overrides to a checked config."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from orchestrator.config.yaml import MAX_BYTES, load_settings, read_setting
from orchestrator.errors import ConfigError

#: characters of what a parser has to say
_LONGEST = 300


def read_yaml(file: Path) -> dict[str, Any]:
    """The nested mapping in a YAML file. Raises ConfigError when it cannot be read or is none."""
    try:
        with file.open("rb") as source:
            content = load_settings(source.read(MAX_BYTES + 1))
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
    """A copy of a nested mapping with each `a.b=value` put in; see `parse_overrides`."""
    return put_values(tree, parse_overrides(overrides))


def put_values(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested mapping with each dotted key set to its value. Raises ConfigError as `apply_overrides`."""
    changed = deepcopy(dict(tree))
    for key, value in values.items():
        _put(changed, key, deepcopy(value))
    return changed


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Dotted key -> value of each `a.b=value`; the last one counts. Raises ConfigError.

    Lists and mappings are in brackets, as in YAML; the type of the key decides what any other value means.
    """
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError(
                "KEY=VALUE", override, "this is no assignment", "write a dotted key, =, and a value"
            )
        if not text.isascii() and text.encode(errors="replace").decode() != text:
            raise ConfigError(key, ascii(text), "this is not text", "write it in UTF-8")
        values[key] = read_setting(text)
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


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for depth, section in enumerate(sections):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            problem = f"{'.'.join(sections[: depth + 1])} is a value, not a section"
            raise ConfigError(key, value, problem, "see `sparsefleet list keys`")
        tree = inner
    tree[last] = value
