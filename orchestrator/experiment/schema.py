"""The JSON Schema of the config, with which editors complete and check YAML files."""

from collections.abc import Iterable
from typing import Any

from orchestrator.data.registry import DATASETS
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.methods import algorithm_names, load_algorithm
from orchestrator.fleet.registry import FLEETS
from orchestrator.models.registry import MODELS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file.

    The options under `algorithm` depend on its name; a method from a file or another package may have any options.
    Names of data sets, models and fleets are suggestions, because these keys also accept files.
    """
    schema = ExperimentConfig.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    for section, names in (("DataConfig", DATASETS), ("ModelConfig", MODELS), ("FleetConfig", FLEETS)):
        _suggest(definitions[section]["properties"]["name"], names)
    definitions["AlgorithmConfig"] = _algorithm_schema(definitions)
    return {"$schema": _DIALECT, "title": "Sparsefleet experiment", **schema}


def _algorithm_schema(definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of the section `algorithm`: one case for each registered method, by its name.

    Adds the definitions of the methods' own sections to `definitions`.
    """
    names = algorithm_names()
    name = dict(definitions["AlgorithmConfig"]["properties"]["name"])
    _suggest(name, names)
    cases = []
    for method in names:
        options = load_algorithm(method).Config.model_json_schema()
        properties = {key: value for key, value in options["properties"].items() if key != "name"}
        then = {"properties": {"name": name, **properties}, "additionalProperties": False}
        definitions |= options.get("$defs", {})
        cases.append({"if": _is_named(method, default=name["default"]), "then": then})
    return {
        "title": "Method",
        "description": "The method and its own options. `sparsefleet list algorithms` lists the methods.",
        "type": "object",
        "properties": {"name": name},
        "allOf": cases,
    }


def _is_named(method: str, *, default: str) -> dict[str, Any]:
    """The condition that the section has this name; a section without a name has the default name."""
    required = {} if method == default else {"required": ["name"]}
    return {"properties": {"name": {"const": method}}, **required}


def _suggest(field: dict[str, Any], names: Iterable[str]) -> None:
    """Let editors offer these names for a text field that accepts any text."""
    field.pop("type", None)
    field["anyOf"] = [{"enum": sorted(names)}, {"type": "string"}]
