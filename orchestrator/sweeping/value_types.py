"""Converts the values of a sweep to the types of their keys, so that 1e-2 and 0.01 are the same learning rate."""

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
from orchestrator.sweeping.space import CONFIGURATIONS, is_grid, listed_configurations


def typed_dimensions(dimensions: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the constants and lists of the dimensions to the types of their keys, and remove duplicates from lists.

    `config` is the config tree that the trials start from. A value that does not fit the type of its key stays
    unchanged; the check of the trials' configs rejects such a value.
    """
    methods = method_names(dimensions, config)
    typed: dict[str, Any] = {}
    for key, value in dimensions.items():
        if is_grid(value):
            distinct: dict[str, Any] = {}
            for listed in value["grid_search"]:
                if key == CONFIGURATIONS:
                    converted: Any = _typed_configuration(listed, config)
                else:
                    converted = typed_value(key, listed, methods)
                distinct.setdefault(json.dumps(converted, sort_keys=True, default=repr), converted)
            typed[key] = {"grid_search": list(distinct.values())}
        else:
            typed[key] = typed_value(key, value, methods)
    return typed


def _typed_configuration(values: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    methods = method_names(values, config)
    return {key: typed_value(key, value, methods) for key, value in values.items()}


def method_names(dimensions: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Return the names of the methods that the trials may have."""
    dimension = dimensions.get("algorithm.name", flatten(config).get("algorithm.name", "fedavg"))
    names = dimension["grid_search"] if is_grid(dimension) else getattr(dimension, "categories", [dimension])
    names = [*names, *(each.get("algorithm.name") for each in listed_configurations(dimensions))]
    return [name for name in dict.fromkeys(names) if isinstance(name, str)]


def typed_value(key: str, value: Any, methods: Iterable[str]) -> Any:
    """Convert a plain value to the type of its key. A value that does not fit or has an unknown key stays unchanged."""
    field = _field(key, methods)
    if field is None or not isinstance(value, bool | int | float | str):
        return value
    value = convert(value, field.annotation)
    kind: Any = Annotated[field.annotation, Field(), *field.metadata]
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    with suppress(ValidationError):
        read = adapter.validate_python(value)
        # pydantic also accepts True as the number 1, and turns text into a path; both values must stay as they are
        if isinstance(read, bool | int | float | str) and isinstance(read, bool) >= isinstance(value, bool):
            return read
    return value


def _field(key: str, methods: Iterable[str]) -> FieldInfo | None:
    first, *names = key.split(".")
    if first != "algorithm":
        return _find_field(ExperimentConfig, [first, *names])
    for method in methods:
        with suppress(RequestError):
            if found := _find_field(load_algorithm(method).Config, names):
                return found
    return None


def _find_field(model: type[BaseModel], names: list[str]) -> FieldInfo | None:
    if not names or (field := model.model_fields.get(names[0])) is None:
        return None
    kind = field.annotation
    if len(names) == 1:
        return field
    return _find_field(kind, names[1:]) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
