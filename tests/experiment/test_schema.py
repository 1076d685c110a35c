"""The JSON Schema of the config accepts and rejects what the config accepts and rejects."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from algorithms import ALGORITHMS
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.schema import config_schema

PRESETS = sorted((Path(__file__).parents[2] / "orchestrator" / "presets").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = config_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_method_is_accepted_with_its_options(validator: Draft202012Validator, name: str) -> None:
    validator.validate(ExperimentConfig.parse({"algorithm": {"name": name}}).to_dict())


def test_presets_are_accepted(validator: Draft202012Validator) -> None:
    assert len(PRESETS) > 5
    for preset in PRESETS:
        validator.validate(yaml.safe_load(preset.read_text()))


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"algorithm": {}},
        {"algorithm": {"name": "mine.py:Mine", "anything": 1}},
        {"data": {"name": "own.py"}, "model": {"name": "m.py:build"}, "fleet": {"name": "home.yaml"}},
        {"sparsity": {"layer_density": {"fc": 0.1}}},
        {"fleet": {"deadline_s": None}},
    ],
)
def test_valid_trees(validator: Draft202012Validator, tree: dict[str, Any]) -> None:
    validator.validate(tree)


@pytest.mark.parametrize(
    "tree",
    [
        {"trainning": {}},
        {"training": {"lrr": 1}},
        {"training": {"rounds": 0}},
        {"training": 3},
        {"algorithm": {"name": "fedavg", "alpha": 1}},
        {"algorithm": {"alpha": 1}},
        {"algorithm": {"name": "feddst", "alpha": "x"}},
        {"data": {"partition": {"kind": "unknown"}}},
    ],
)
def test_invalid_trees(validator: Draft202012Validator, tree: dict[str, Any]) -> None:
    assert list(validator.iter_errors(tree))


def test_editors_get_descriptions_and_names() -> None:
    definitions = config_schema()["$defs"]
    assert definitions["TrainingConfig"]["properties"]["lr"]["description"]
    names, any_text = definitions["AlgorithmConfig"]["properties"]["name"]["anyOf"]
    assert set(names["enum"]) >= set(ALGORITHMS)
    assert any_text == {"type": "string"}
