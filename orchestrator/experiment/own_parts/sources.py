"""The users' files that a config names, by the label under which runs and sweeps store them."""

from collections.abc import Callable, Iterable, Mapping

from orchestrator.config.overrides import flatten
from orchestrator.errors import RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.fleet.registry import fleet_sources
from orchestrator.plugins.loading import sources_of
from orchestrator.plugins.source_files import SourceFiles

#: label of a user's file -> the key of the config that names the file
FILE_KEYS: Mapping[str, str] = {
    "algorithm": "algorithm.name",
    "model": "model.name",
    "data": "data.name",
    "partition": "data.partition.kind",
    "lr_schedule": "training.lr_schedule.name",
    "schedule": "sparsity.schedule.kind",
    "metric": "evaluation.metrics",
    "selection": "selection.kind",
    "aggregation": "aggregation.rule",
    "fleet": "fleet.name",
}


def key_of(label: str) -> str:
    """Return the config key of a label; labels end with -2, -3, ... after the first file of a key."""
    label = label.partition("-")[0]
    return "SPACE" if label == "space" else FILE_KEYS.get(label, label)


def sources_named(label: str, name: str) -> SourceFiles | None:
    """Return the files of the object that the key of `label` names; None if `name` names no readable file."""
    read: Callable[[str], SourceFiles | None] = fleet_sources if label == "fleet" else sources_of
    try:
        return read(name)
    except (OSError, ValueError, RequestError):
        return None


def named_sources(config: ExperimentConfig) -> dict[str, SourceFiles]:
    """Return the user's files that a config names, by their label."""
    flat = flatten(config.to_dict())
    found: dict[str, SourceFiles] = {}
    for label, key in FILE_KEYS.items():
        found |= labelled(label, names_in(flat[key]))
    return found


def names_in(value: object) -> list[str]:
    """Return the names in the value of a key: one, or several for a list."""
    values = value if isinstance(value, list | tuple) else [value]
    return [each for each in values if isinstance(each, str)]


def labelled(label: str, names: Iterable[str]) -> dict[str, SourceFiles]:
    """Return the files of all names of a key; those after the first have the label with -2, -3, ..."""
    own = [sources for name in dict.fromkeys(names) if (sources := sources_named(label, name))]
    different = list({sources.path: sources for sources in own}.values())
    return {label if i == 1 else f"{label}-{i}": sources for i, sources in enumerate(different, 1)}
