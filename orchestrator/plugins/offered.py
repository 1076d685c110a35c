"""Loads an object by its built-in name, by the entry point of another package, or from a file."""

from collections.abc import Mapping
from importlib.metadata import entry_points

from orchestrator.errors import ConfigError
from orchestrator.plugins.loading import load_object
from orchestrator.suggest import suggest


def offered_names(group: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return the built-in names and those of other packages, each with its `module:object`. Files are not listed.

    Other packages offer objects as entry points of `group`. They cannot replace a built-in name.
    """
    return {**{point.name: point.value for point in entry_points(group=group)}, **known}


def load_offered(name: str, field: str, group: str, known: Mapping[str, str], noun: str) -> object:
    """Return the object for a name, an entry point of `group`, `path/to/file.py:name` or `package.module:name`.

    Errors name the config key `field`, and call the object `noun`. Raises ConfigError for an unknown name, and as
    `load_object`.
    """
    # reading the entry points of all installed packages takes far longer than parsing a config
    names = known if name in known else offered_names(group, known)
    if name not in names and ":" not in name:
        choices = f"choose one of {', '.join(sorted(names))}, or write path/to/file.py:name"
        raise ConfigError(field, name, f"there is no such {noun}", suggest(name.lower(), names, choices))
    return load_object(names.get(name, name), field)
