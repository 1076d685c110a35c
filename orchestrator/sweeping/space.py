"""Loads search spaces by name, file or entry point, and applies the user's overrides to their dimensions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.plugins.loading import load_module
from orchestrator.suggest import suggest
from search_spaces import ENTRY_POINT_GROUP, SPACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A loaded search space.

    `dimensions` maps dotted config keys to Tune domains, lists (`tune.grid_search`) and constants. `mutations` maps the
    keys that population-based training may change to the domains of their new values.
    """

    name: str
    summary: str
    dimensions: Mapping[str, Any]
    mutations: Mapping[str, Any]


def space_names() -> dict[str, str]:
    """Return the module of every search space that has a name, by this name."""
    offered = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    return {**offered, **SPACES}


def load_space(spec: str) -> Space:
    """Load the space of a registry name, an entry point name, or a path such as `path/to/space.py`.

    Raises ConfigError for an unknown name and for a module without a valid `SPACE`.
    """
    known = space_names()
    if spec not in known and not spec.endswith(".py"):
        remedy = suggest(spec, known, f"choose one of {', '.join(sorted(known))}, or a .py file")
        raise ConfigError("SPACE", spec, "this search space does not exist", remedy)
    module = load_module(known.get(spec, spec), spec, "SPACE")
    return Space(
        name=(spec if spec in known else module.__name__.rpartition(".")[2]),
        summary=(module.__doc__ or "").strip().partition("\n")[0],
        dimensions=_mapping(module, "SPACE", spec),
        mutations=_mapping(module, "MUTATIONS", spec) if hasattr(module, "MUTATIONS") else {},
    )


def _mapping(module: ModuleType, name: str, spec: str) -> Mapping[str, Any]:
    found = getattr(module, name, None)
    if not isinstance(found, Mapping) or not found or not all(isinstance(key, str) for key in found):
        problem = f"the module has no {name} that maps dotted config keys to values"
        raise ConfigError(
            "SPACE", spec, problem, f'write {name} = {{"training.lr": tune.uniform(0.01, 0.1)}}'
        )
    return found


def with_overrides(dimensions: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Apply the user's overrides to the dimensions: a list becomes a dimension, any other value fixes its key.

    An override removes all dimensions at or below its key. Raises ConfigError for an empty list.
    """
    from ray import tune

    kept = {
        key: value
        for key, value in dimensions.items()
        if not any(is_at_or_below(key, over) for over in overrides)
    }
    for key, value in overrides.items():
        if value == []:
            raise ConfigError(key, value, "an empty list has no value for the key", "list at least one value")
    added = {
        key: tune.grid_search(value) if isinstance(value, list) else value for key, value in overrides.items()
    }
    return {**kept, **added}


def is_at_or_below(key: str, other: str) -> bool:
    """Whether a dotted key equals another key or is nested below it."""
    return key == other or key.startswith(f"{other}.")


def is_grid(value: object) -> bool:
    """Whether a dimension is a list of values (`tune.grid_search`)."""
    return isinstance(value, Mapping) and value.keys() == {"grid_search"}


def is_sampled(value: object) -> bool:
    """Whether a dimension is sampled from a domain. Computed dimensions (`tune.sample_from`) are not sampled."""
    from ray.tune.search.sample import Domain

    return isinstance(value, Domain) and not is_computed(value)


def is_computed(value: object) -> bool:
    """Whether a dimension is computed from other dimensions (`tune.sample_from`)."""
    from ray.tune.search.sample import Function

    return isinstance(value, Function)


def varying_keys(dimensions: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ between trials."""
    from ray.tune.search.sample import Domain

    return [key for key, value in dimensions.items() if is_grid(value) or isinstance(value, Domain)]


def grids_as_choices(dimensions: Mapping[str, Any]) -> dict[str, Any]:
    """Replace every list of values by a domain that samples from the list."""
    from ray import tune

    return {
        key: tune.choice(list(value["grid_search"])) if is_grid(value) else value
        for key, value in dimensions.items()
    }


def to_plain(value: Any) -> Any:
    """Convert a sampled value to the plain types of YAML and JSON."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(inner) for key, inner in value.items()}
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return value.item() if hasattr(value, "item") else value
    return [to_plain(inner) for inner in value]
