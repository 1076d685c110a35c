"""Search spaces: found by name, file or entry point, with dimensions that the user fixes or adds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.models.plugin import load_module
from orchestrator.suggest import suggest
from search_spaces import ENTRY_POINT_GROUP, SPACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """`dimensions` maps dotted config keys to Tune domains and constants, `mutations` to what PBT draws anew from."""

    name: str
    summary: str
    dimensions: Mapping[str, Any]
    mutations: Mapping[str, Any]


def space_names() -> dict[str, str]:
    """Every name that a space can be asked for by, besides a path, and the module that holds it."""
    offered = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**offered, **SPACES}


def load_space(spec: str) -> Space:
    """The space of a registry name, an entry point, or `path/to/space.py`.

    Raises ConfigError for a name that is not known and for a module that holds no space.
    """
    known = space_names()
    if spec not in known and not spec.endswith(".py"):
        hint = suggest(spec, known, f"choose one of {', '.join(sorted(known))}, or a .py file")
        raise ConfigError("SPACE", spec, "there is no such search space", hint)
    module = load_module(known.get(spec, spec), spec, "SPACE")
    return Space(
        name=(spec if spec in known else module.__name__.split("_plugin_")[-1].rpartition("_")[0]),
        summary=(module.__doc__ or "").strip().partition("\n")[0],
        dimensions=_mapping(module, "SPACE", spec),
        mutations=_mapping(module, "MUTATIONS", spec) if hasattr(module, "MUTATIONS") else {},
    )


def _mapping(module: ModuleType, name: str, spec: str) -> Mapping[str, Any]:
    found = getattr(module, name, None)
    if not isinstance(found, Mapping) or not found or not all(isinstance(key, str) for key in found):
        problem = f"it has no {name} that maps dotted config keys to values"
        raise ConfigError(
            "SPACE", spec, problem, f'write {name} = {{"training.lr": tune.uniform(0.01, 0.1)}}'
        )
    return found


def with_overrides(dimensions: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The dimensions under the user's own values: a list is a dimension of its own, any other value fixes its key.

    Dimensions at or below an overridden key go. Raises ConfigError for an empty list.
    """
    from ray import tune

    kept = {
        key: value
        for key, value in dimensions.items()
        if not any(is_at_or_below(key, over) for over in overrides)
    }
    for key, value in overrides.items():
        if value == []:
            raise ConfigError(key, value, "an empty list is no dimension", "list the values that it takes")
    added = {
        key: tune.grid_search(value) if isinstance(value, list) else value for key, value in overrides.items()
    }
    return {**kept, **added}


def is_at_or_below(key: str, other: str) -> bool:
    """Whether a dotted key is another one, or lies in it."""
    return key == other or key.startswith(f"{other}.")


def is_grid(value: object) -> bool:
    """Whether a dimension lists its values (`tune.grid_search`)."""
    return isinstance(value, Mapping) and value.keys() == {"grid_search"}


def is_drawn(value: object) -> bool:
    """Whether a dimension is drawn from a domain; what is computed from other dimensions is not."""
    from ray.tune.search.sample import Domain

    return isinstance(value, Domain) and not is_computed(value)


def is_computed(value: object) -> bool:
    """Whether a dimension is computed from others (`tune.sample_from`)."""
    from ray.tune.search.sample import Function

    return isinstance(value, Function)


def varied(dimensions: Mapping[str, Any]) -> list[str]:
    """The keys that differ from trial to trial."""
    from ray.tune.search.sample import Domain

    return [key for key, value in dimensions.items() if is_grid(value) or isinstance(value, Domain)]


def lists_as_choices(dimensions: Mapping[str, Any]) -> dict[str, Any]:
    """The dimensions with every listed one drawn from its list."""
    from ray import tune

    return {
        key: tune.choice(list(value["grid_search"])) if is_grid(value) else value
        for key, value in dimensions.items()
    }


def plain(value: Any) -> Any:
    """A drawn value as YAML and JSON know it."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return value.item() if hasattr(value, "item") else value
    return [plain(inner) for inner in value]
