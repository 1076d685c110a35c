"""Loads search spaces by name, file or entry point, and applies the user's overrides to their dimensions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from orchestrator.config.overrides import flatten
from orchestrator.errors import ConfigError
from orchestrator.plugins.loading import load_module
from orchestrator.suggest import suggest
from search_spaces import ENTRY_POINT_GROUP, SPACES

#: the dimension of a space that lists whole configurations; its values map dotted keys to plain values
CONFIGURATIONS = "configurations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A loaded search space.

    `dimensions` maps dotted config keys to Tune domains, lists (`tune.grid_search`) and constants. A space that lists
    its configurations has the dimension CONFIGURATIONS only. `mutations` maps the keys that population-based training
    may change to the domains of their new values.
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
        dimensions=_dimensions(module, spec),
        mutations=_mapping(module, "MUTATIONS", spec) if hasattr(module, "MUTATIONS") else {},
    )


def _dimensions(module: ModuleType, spec: str) -> Mapping[str, Any]:
    """Return the dimensions of `SPACE`, which is a mapping or a list of configurations."""
    listed = getattr(module, "SPACE", None)
    if not isinstance(listed, list):
        return _mapping(module, "SPACE", spec)
    if not listed or not all(isinstance(each, Mapping) and all(map(_is_text, each)) for each in listed):
        problem = "SPACE is a list, but not of configurations that map dotted config keys to values"
        raise ConfigError(
            "SPACE", spec, problem, 'write SPACE = [{"training.lr": 0.1}, {"training.lr": 0.2}]'
        )
    for value in (value for each in listed for value in each.values()):
        if is_grid(value) or hasattr(value, "sample"):
            problem = "a listed configuration contains a domain or a list of values of Ray Tune"
            raise ConfigError("SPACE", spec, problem, "give each key one value, or write SPACE as a mapping")
    return {CONFIGURATIONS: {"grid_search": [flatten(each) for each in listed]}}


def _is_text(key: object) -> bool:
    return isinstance(key, str)


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

    kept = _without(dimensions, overrides)
    if CONFIGURATIONS in kept:
        listed = kept[CONFIGURATIONS]["grid_search"]
        kept[CONFIGURATIONS] = {"grid_search": [_without(each, overrides) for each in listed]}
    for key, value in overrides.items():
        if value == []:
            raise ConfigError(key, value, "an empty list has no value for the key", "list at least one value")
    added = {
        key: tune.grid_search(value) if isinstance(value, list) else value for key, value in overrides.items()
    }
    return {**kept, **added}


def _without(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Return the entries that are neither at nor below one of the keys."""
    return {k: value for k, value in values.items() if not any(is_at_or_below(k, key) for key in keys)}


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
    """Return the keys whose values differ between trials, including all keys of listed configurations."""
    from ray.tune.search.sample import Domain

    open_keys = [key for key, value in dimensions.items() if is_grid(value) or isinstance(value, Domain)]
    listed = [key for each in listed_configurations(dimensions) for key in each]
    return [*(key for key in open_keys if key != CONFIGURATIONS), *dict.fromkeys(listed)]


def listed_configurations(dimensions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the configurations that a space lists, as dotted key -> value; empty for any other space."""
    return list(dimensions[CONFIGURATIONS]["grid_search"]) if CONFIGURATIONS in dimensions else []


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
