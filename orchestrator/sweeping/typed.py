"""A sweep's values by the type of their keys, so that 1e-2, 0.01 and 1.0e-2 are one learning rate."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from orchestrator.config.overrides import flatten
from orchestrator.config.section import convert
from orchestrator.errors import RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.methods import load_algorithm
from orchestrator.sweeping.space import is_grid


def typed_dimensions(dimensions: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The dimensions with their constants and lists by type; a value that a list repeats is in it once.

    `config` is the tree beneath them. What does not fit its key is left as it is: checking the trials rejects it.
    """
    methods = method_names(dimensions, config)
    typed: dict[str, Any] = {}
    for key, value in dimensions.items():
        if is_grid(value):
            distinct: dict[str, Any] = {}
            for one in value["grid_search"]:
                one = typed_value(key, one, methods)
                distinct.setdefault(json.dumps(one, sort_keys=True, default=repr), one)
            typed[key] = {"grid_search": list(distinct.values())}
        else:
            typed[key] = typed_value(key, value, methods)
    return typed


def method_names(dimensions: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The methods that a sweep's trials may have."""
    asked = dimensions.get("algorithm.name", flatten(config).get("algorithm.name", "fedavg"))
    names = asked["grid_search"] if is_grid(asked) else getattr(asked, "categories", [asked])
    return [name for name in names if isinstance(name, str)]


def typed_value(key: str, value: Any, methods: Iterable[str]) -> Any:
    """A plain value as the key has it; what does not fit, or is of no known key, as it is."""
    field = _field(key, methods)
    if field is None or not isinstance(value, bool | int | float | str):
        return value
    value = convert(value, field.annotation)
    kind: Any = Annotated[field.annotation, Field(), *field.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    with suppress(ValidationError):
        read = adapter.validate_python(value)
        # Python counts True as 1, and a path is kept as its text
        if isinstance(read, bool | int | float | str) and isinstance(read, bool) >= isinstance(value, bool):
            return read
    return value


def _field(key: str, methods: Iterable[str]) -> FieldInfo | None:
    first, *names = key.split(".")
    if first != "algorithm":
        return _below(ExperimentConfig, [first, *names])
    for method in methods:
        with suppress(RequestError):
            if found := _below(load_algorithm(method).Config, names):
                return found
    return None


def _below(model: type[BaseModel], names: list[str]) -> FieldInfo | None:
    if not names or (field := model.model_fields.get(names[0])) is None:
        return None
    kind = field.annotation
    if len(names) == 1:
        return field
    return _below(kind, names[1:]) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
