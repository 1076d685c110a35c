"""The named presets: complete settings of the literature as YAML files in `orchestrator/presets`.

A preset's first comment line is its summary. Further comments name the source of each value, or say that the value is
this project's own choice.
"""

from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.suggest import suggest

PREFIX = "preset:"
_FOLDER = Path(__file__).parent.parent / "presets"


def preset_names() -> list[str]:
    """Return the names of all presets, sorted."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


def preset_path(source: str) -> Path | None:
    """Return the file of `preset:NAME`; None if the source is not a preset. Raises ConfigError for an unknown name."""
    if not source.startswith(PREFIX):
        return None
    name = source.removeprefix(PREFIX)
    if name not in preset_names():
        raise ConfigError("--config", source, "there is no such preset", suggest(name, preset_names()))
    return _FOLDER / f"{name}.yaml"


def preset_summary(name: str) -> str:
    """Return the first comment line of a preset."""
    with (_FOLDER / f"{name}.yaml").open(encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
