"""The user's own files that a command names: methods, models, spaces, fleets, configs and what those name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.config.overrides import flatten
from orchestrator.config.yaml import load_settings
from orchestrator.errors import RequestError

#: options and arguments whose values may be files that the command reads
_ARGUMENTS = ("config", "space", "method", "fleet")


def named_files(asked: ParsedCommand, settings: Mapping[str, Any], base: Path) -> list[Path]:
    """Those that exist in the folder `base` or below it, as paths relative to it, in alphabetical order.

    An absolute path is the cluster's own. Raises RequestError for a file outside of `base`, and for a folder of data.
    """
    base = base.resolve()
    found: dict[Path, None] = {}
    values = [(name, asked.options.get(name)) for name in _ARGUMENTS]
    for field, value in [*values, *settings.items()]:
        for text in _texts(value):
            _add(field, text, base, base, found)
    return sorted(path.relative_to(base) for path in found)


def _add(field: str, text: str, folder: Path, base: Path, found: dict[Path, None]) -> None:
    """Note a file that `text` names as seen from `folder`, and those that it names in turn if it is YAML."""
    path = _path(text)
    if path is None:
        return
    path = (folder / path).resolve()
    if field == "data.root" and path.is_dir():
        raise RequestError(
            field,
            text,
            "a folder of data does not travel with a command",
            "put it on storage that the cluster's machines share and name it by its absolute path there, "
            "or ship a whole folder with --working-dir",
        )
    if not path.is_file() or path in found:
        return
    if not path.is_relative_to(base):
        raise RequestError(
            field, text, f"it lies outside of {base}", "name a folder that has it with --working-dir"
        )
    found[path] = None
    if path.suffix in (".yaml", ".yml"):
        for key, value in _content(path).items():
            for inner in _texts(value):
                for place in (base, path.parent):
                    _add(key, inner, place, base, found)


def _path(text: str) -> Path | None:
    """The relative path that a value may be, without the `:Class` of a plug-in."""
    source = text.rpartition(":")[0] if ".py:" in text else text
    if not source or source.startswith(("/", "~")) or "\n" in source or "\0" in source or len(source) > 1000:
        return None
    return Path(source)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)


def _content(path: Path) -> dict[str, Any]:
    """What a YAML file holds; nothing for one that the command will refuse."""
    try:
        content = load_settings(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return flatten(content) if isinstance(content, dict) else {}
