"""Find the user's own files that a command names, such as methods, models, spaces, fleets and config files.

A YAML file among them may name more files, and a Python file may import modules of its folder; these are found too.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.config.overrides import flatten
from orchestrator.config.yaml import load_settings
from orchestrator.errors import RequestError
from orchestrator.plugins.source_files import read_sources

#: options and arguments whose values may be files that the command reads
_FILE_OPTIONS = ("config", "space", "method", "fleet")


def named_files(parsed: ParsedCommand, settings: Mapping[str, Any], base: Path) -> list[Path]:
    """Return the named files that exist in the folder `base`, as sorted paths relative to `base`.

    Absolute paths are left out, because they name files of the cluster. Raises RequestError for a file outside of
    `base`, and for a folder of data.
    """
    base = base.resolve()
    found: dict[Path, None] = {}
    values = [(name, parsed.options.get(name)) for name in _FILE_OPTIONS]
    for field, value in [*values, *settings.items()]:
        for text in _strings(value):
            _add_file(field, text, base, base, found)
    return sorted(path.relative_to(base) for path in found)


def _add_file(field: str, text: str, folder: Path, base: Path, found: dict[Path, None]) -> None:
    """Add the file that `text` names relative to `folder`, and all files that this file needs."""
    path = _relative_path(text)
    if path is None:
        return
    path = (folder / path).resolve()
    if field == "data.root" and path.is_dir():
        raise RequestError(
            field,
            text,
            "a folder of data is not uploaded with a job",
            "put it on storage that all machines of the cluster share and give its absolute path there, "
            "or upload a whole folder with --working-dir",
        )
    if not path.is_file() or path in found:
        return
    if not path.is_relative_to(base):
        raise RequestError(
            field,
            text,
            f"the file is outside of {base}",
            "give --working-dir a folder that contains the file",
        )
    found[path] = None
    if path.suffix == ".py":
        found.update({path.parent / name: None for name in read_sources(text, path).files})
    if path.suffix in (".yaml", ".yml"):
        _add_files_of_yaml(path, base, found)


def _add_files_of_yaml(path: Path, base: Path, found: dict[Path, None]) -> None:
    for key, value in _yaml_settings(path).items():
        for inner in _strings(value):
            for parent in (base, path.parent):
                _add_file(key, inner, parent, base, found)


def _relative_path(text: str) -> Path | None:
    """The path in `text` without the `:Class` of a plug-in; None if `text` cannot be a relative path."""
    source = text.rpartition(":")[0] if ".py:" in text else text
    if not source or source.startswith(("/", "~")) or "\n" in source or "\0" in source or len(source) > 1000:
        return None
    return Path(source)


def _strings(value: object) -> Iterator[str]:
    """Yield all strings and paths in a value, also those inside lists and mappings."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)


def _yaml_settings(path: Path) -> dict[str, Any]:
    """Dotted key -> value of a YAML file; empty for a file that the command itself will reject."""
    try:
        content = load_settings(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return flatten(content) if isinstance(content, dict) else {}
