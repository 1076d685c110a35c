"""The config tree: complete by default, strict, frozen, and unchanged when written to a file and read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from algorithms.feddst import FedDSTConfig
from algorithms.fedprox import FedProxConfig
from orchestrator.config.errors import dotted_keys
from orchestrator.config.overrides import apply_overrides, flatten
from orchestrator.config.sections import AlgorithmConfig
from orchestrator.errors import ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.methods import algorithm_names, load_algorithm

#: keys that scripts rely on, by section
PUBLISHED = {
    "algorithm": "name",
    "sparsity": "level allocation schedule.kind",
    "data": "name root augment partition.kind partition.alpha partition.classes_per_client partition.shard_size",
    "model": "name init",
    "fleet": "name num_clients",
    "training": "rounds clients_per_round local_epochs batch_size optimizer lr lr_decay momentum weight_decay "
    "clip_norm eval_every",
    "wire": "value_dtype",
    "runtime": "executor actors pool_size address storage failure_policy",
    "tracking": "uri experiment",
}

#: changes to the default config, by dotted key
CHANGED: dict[str, dict[str, Any]] = {
    "nothing": {},
    "options of a method": {
        "algorithm.name": "feddst",
        "algorithm.alpha": 0.1 + 0.2,
        "algorithm.end_round": None,
        "algorithm.constant_alpha": True,
        "sparsity.level": 0.95,
        "sparsity.schedule.kind": "cubic",
        "sparsity.schedule.final_level": 0.99,
    },
    "paths": {"data.root": "some/folder", "model.init": "/a b/c.safetensors", "runtime.storage": "elsewhere"},
    "numbers": {
        "seed": 2**63 - 1,
        "training.lr": 1e-300,
        "training.clip_norm": 1e300,
        "training.lr_decay": 0.1,
    },
    "text": {
        "tracking.experiment": "null",
        "model.name": "on",
        "data.client_column": "1e-3",
        "runtime.address": "ray://[::1]:10001",
        "tracking.uri": "http://user:p@host/#x: y",
    },
    "names with dots": {
        "sparsity.allocation": "explicit",
        "sparsity.layer_density.0.weight": 0.5,
        "sparsity.layer_density.fc.weight": 1.0,
        "sparsity.device_levels.tier-1-16": 0.9375,
    },
    "unset": {
        "sparsity.level": None,
        "training.clip_norm": None,
        "data.root": None,
        "runtime.pool_size": None,
    },
}


def _config(options: Mapping[str, Any]) -> ExperimentConfig:
    tree: dict[str, Any] = {}
    for key, value in options.items():
        *sections, last = key.split(".")
        section = tree
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return ExperimentConfig.parse(tree)


def test_empty_config_is_a_complete_experiment() -> None:
    config = ExperimentConfig.parse({})
    assert config == ExperimentConfig()
    assert config.algorithm == AlgorithmConfig(name="fedavg")
    assert (config.data.name, config.fleet.num_clients, config.training.clients_per_round) == (
        "digits",
        20,
        5,
    )
    assert (config.sparsity.level, config.sparsity.allocation) == (None, None)
    assert (config.runtime.executor, config.runtime.failure_policy) == ("ray", "retry")


def test_published_keys_exist() -> None:
    keys = {f"{section}.{key}" for section, names in PUBLISHED.items() for key in names.split()}
    assert keys | {"seed"} <= flatten(ExperimentConfig().to_dict()).keys()


def test_every_key_has_a_description_and_a_default() -> None:
    models: dict[str, type[BaseModel]] = {"": ExperimentConfig}
    models |= {f"{name}: ": load_algorithm(name).Config for name in algorithm_names()}
    for prefix, model in models.items():
        for key, (description, default) in dotted_keys(model).items():
            assert description, f"{prefix}{key} is not described"
            assert "Undefined" not in repr(default), f"{prefix}{key} has no default"


def test_described_defaults_equal_the_defaults() -> None:
    described = {key: str(default) for key, (_, default) in dotted_keys(ExperimentConfig).items()}
    assert described == {key: str(value) for key, value in flatten(ExperimentConfig().to_dict()).items()}


@pytest.mark.parametrize("name", CHANGED)
def test_config_is_unchanged_after_a_file(name: str) -> None:
    config = _config(CHANGED[name])
    assert flatten(config.to_dict()).items() >= CHANGED[name].items()
    assert ExperimentConfig.parse(config.to_dict()) == config
    text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
    again = ExperimentConfig.parse(yaml.safe_load(text))
    assert again == config
    assert type(again.algorithm) is type(config.algorithm)
    assert ExperimentConfig.parse(json.loads(json.dumps(config.to_dict()))) == config


@settings(max_examples=40)
@given(
    # PyYAML writes U+0085 as it is and reads it back as a line break
    experiment=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x85"), min_size=1),
    lr=st.floats(min_value=0.0, exclude_min=True, allow_infinity=False),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_text_and_number_is_unchanged_after_a_file(experiment: str, lr: float, seed: int) -> None:
    config = _config({"tracking.experiment": experiment, "training.lr": lr, "seed": seed})
    text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
    assert ExperimentConfig.parse(yaml.safe_load(text)) == config


def test_config_dict_contains_only_plain_values() -> None:
    tree = _config(CHANGED["paths"]).to_dict()
    assert all(v == {} or isinstance(v, str | int | float | bool | None) for v in flatten(tree).values())
    assert _config(CHANGED["paths"]).data.root == Path("some/folder")


def test_config_is_frozen() -> None:
    config = ExperimentConfig()
    with pytest.raises(ValidationError):
        config.training.rounds = 3
    with pytest.raises(ValidationError):
        config.algorithm.name = "feddst"


def test_parse_does_not_change_its_argument() -> None:
    tree = {"algorithm": {"name": "fedprox", "mu": 1}, "training": {"rounds": "3"}}
    before = json.dumps(tree)
    assert ExperimentConfig.parse(tree).training.rounds == 3
    assert json.dumps(tree) == before


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**63, "less than"),
        ("seed", 1.5, "integer"),
        ("seed", True, "integer"),
        ("seed", None, "integer"),
        ("training.rounds", 0, "greater than or equal to 1"),
        ("training.rounds", "many", "integer"),
        ("training.rounds", True, "integer"),
        ("training.rounds", [3], "integer"),
        ("training.lr", 0, "greater than 0"),
        ("training.lr", "fast", "number"),
        ("training.lr", float("nan"), "finite"),
        ("training.lr", float("inf"), "finite"),
        ("training.lr", True, "number"),
        ("runtime.pool_size", True, "integer"),
        ("sparsity.schedule.end_round", True, "integer"),
        ("sparsity.level", False, "number"),
        ("training.clip_norm", True, "number"),
        ("training.lr_decay", 1.01, "less than or equal to 1"),
        ("training.momentum", 1, "less than 1"),
        ("training.clip_norm", 0, "greater than 0"),
        ("training.optimizer", "sdg", "'sgd', 'adam' or 'adamw'"),
        ("training.reshuffle", "perhaps", "boolean"),
        ("sparsity.level", 1, "less than 1"),
        ("sparsity.level", -0.1, "greater than or equal to 0"),
        ("sparsity.allocation", "erdos", "'uniform', 'er', 'erk', 'erk_rescaled' or 'explicit'"),
        ("sparsity.schedule.kind", "stairs", "'constant', 'linear', 'cosine', 'cubic' or 'step'"),
        ("sparsity.schedule.num_steps", 0, "greater than or equal to 1"),
        ("sparsity.layer_density.fc.weight", 0, "greater than 0"),
        ("sparsity.layer_density.fc.weight", 1.5, "less than or equal to 1"),
        ("sparsity.layer_density.fc.weight", True, "number"),
        ("sparsity.layer_density", 0.5, "dictionary"),
        ("sparsity.layer_density.fc", {}, "number"),
        ("sparsity.device_levels.phone", 1, "less than 1"),
        ("sparsity.device_levels.phone", -0.1, "greater than or equal to 0"),
        ("sparsity.device_levels.phone", False, "number"),
        ("sparsity.schedule.end_round", 0, "greater than or equal to 1"),
        ("data.partition.alpha", 0, "greater than 0"),
        ("data.partition.kind", "random", "'iid', 'shards'"),
        ("data.root", [3], "path"),
        ("data.test_fraction", 0, "greater than 0"),
        ("data.validation_fraction", 1, "less than 1"),
        ("fleet.num_clients", 0, "greater than or equal to 1"),
        ("wire.value_dtype", "float64", "'float32', 'float16', 'bfloat16' or 'int8'"),
        ("runtime.executor", "local", "'inprocess' or 'ray'"),
        ("runtime.pool_size", 0, "greater than or equal to 1"),
        ("runtime.cohort", 0, "expected auto, 1 (clients train one by one) or a larger number of clients"),
        ("runtime.cohort", "all", "expected auto, 1 (clients train one by one)"),
        ("runtime.max_retries", -1, "greater than or equal to 0"),
        ("tracking.experiment", "", "at least 1 character"),
        ("tracking.experiment", {"a": 1}, "string"),
        ("training", 5, "section"),
        ("data.partition", "iid", "section"),
    ],
)
def test_invalid_value_is_rejected_with_its_key(key: str, value: object, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _config({key: value})
    assert caught.value.field == key
    assert problem in caught.value.problem
    assert str(value)[:20] in str(caught.value)
    descriptions = [
        text
        for name, (text, _) in dotted_keys(ExperimentConfig).items()
        if key == name or key.startswith(f"{name}.")
    ]
    assert all(text in caught.value.remedy for text in descriptions or [f"{key}."])
    assert len(str(caught.value).splitlines()) == 1


def test_long_value_is_shortened_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        _config({"training.rounds": "9" * 500 + "x"})
    assert len(str(caught.value)) < 300


class TestAlgorithm:
    """The options of the method, which are keys next to its name."""

    def test_options_belong_to_the_named_method(self) -> None:
        config = ExperimentConfig.parse({"algorithm": {"name": "fedprox", "mu": "1e-3"}})
        assert isinstance(config.algorithm, FedProxConfig)
        assert config.algorithm.mu == 0.001

    def test_missing_options_take_the_defaults_of_the_method(self) -> None:
        config = ExperimentConfig.parse({"algorithm": {"name": "feddst"}})
        assert config.algorithm == FedDSTConfig(name="feddst")

    def test_mapping_without_a_name_is_fedavg(self) -> None:
        assert ExperimentConfig.parse({"algorithm": {}}) == ExperimentConfig()

    def test_options_object_is_used_unchanged(self) -> None:
        options = FedProxConfig(name="fedprox", mu=0.5)
        assert ExperimentConfig(algorithm=options).algorithm is options

    def test_user_class_is_named_by_its_module(self) -> None:
        config = ExperimentConfig.parse({"algorithm": {"name": "algorithms.fedprox:FedProx", "mu": 2}})
        assert isinstance(config.algorithm, FedProxConfig)
        assert ExperimentConfig.parse(config.to_dict()) == config

    @pytest.mark.parametrize(
        ("options", "field", "expected"),
        [
            ({"name": "fedprx"}, "algorithm.name", "did you mean 'fedprox'?"),
            (
                {"name": "zzz"},
                "algorithm.name",
                "choose one of apfl, compsparse, dispfl, ditto, fedadam, fedavg",
            ),
            ({"name": "fedprox", "muu": 1}, "algorithm.muu", "did you mean 'algorithm.mu'?"),
            ({"name": "fedprox", "mu": -1}, "algorithm.mu", "greater than or equal to 0"),
            ({"name": "fedprox", "mu": "big"}, "algorithm.mu", "number"),
            ({"name": "feddst", "alpha": 1}, "algorithm.alpha", "less than 1"),
            ({"name": "fedavg", "alpha": 0.1}, "algorithm.alpha", "there is no such key"),
            ({"name": "no.such.module:Class"}, "algorithm.name", "there is no module no"),
            ({"name": "os:path"}, "algorithm.name", "not a subclass of Algorithm"),
            ({"name": "algorithms.fedprox:FedProxy"}, "algorithm.name", "did you mean 'FedProx'?"),
            ("fedprox", "algorithm", "set algorithm.name=fedprox"),
        ],
    )
    def test_invalid_options_are_rejected_with_their_key(
        self, options: object, field: str, expected: str
    ) -> None:
        with pytest.raises(RequestError) as caught:
            ExperimentConfig.parse({"algorithm": options})
        assert caught.value.field == field
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    "tree",
    [
        {"layer_density": {"0.weight": 0.5, "block.1.weight": "1e-1"}},
        {"layer_density": {0: {"weight": 0.5}, "block": {1: {"weight": 0.1}}}},
    ],
)
def test_name_with_dots_can_be_written_nested(tree: dict[str, Any]) -> None:
    config = ExperimentConfig.parse({"sparsity": {"allocation": "explicit", **tree}})
    assert config.sparsity.layer_density == {"0.weight": 0.5, "block.1.weight": 0.1}


def test_later_override_of_a_name_wins() -> None:
    tree = {"sparsity": {"device_levels": {"big.phone": 0.5}}}
    config = ExperimentConfig.parse(apply_overrides(tree, ["sparsity.device_levels.big.phone=0.25"]))
    assert config.sparsity.device_levels == {"big.phone": 0.25}


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"sparsity.allocation": "explicit"}, "sparsity.allocation", "explicit"),
        ({"sparsity.layer_density.fc": 0.5}, "sparsity.layer_density", {"fc": 0.5}),
    ],
)
def test_explicit_allocation_needs_densities_and_densities_need_it(
    options: Mapping[str, Any], field: str, value: object
) -> None:
    with pytest.raises(ConfigError) as caught:
        _config(options)
    assert (caught.value.field, caught.value.value) == (field, value)


def test_cohort_larger_than_the_population_is_rejected() -> None:
    assert _config({"fleet.num_clients": 5, "training.clients_per_round": 5}).fleet.num_clients == 5
    with pytest.raises(ConfigError, match=r"fleet\.num_clients=5") as caught:
        _config({"fleet.num_clients": 5, "training.clients_per_round": 6})
    assert (caught.value.field, caught.value.value) == ("training.clients_per_round", 6)


def test_cohort_with_replacement_can_be_larger_than_the_population() -> None:
    options = {"fleet.num_clients": 2, "training.clients_per_round": 6, "training.with_replacement": True}
    assert _config(options).training.clients_per_round == 6


def test_overrides_reach_every_leaf() -> None:
    """Each default, written as an override, is the default again."""
    tree = flatten(ExperimentConfig().to_dict())
    overrides = [
        f"{key}={yaml.safe_dump(value).removesuffix(chr(10) + '...' + chr(10))}"
        for key, value in tree.items()
    ]
    assert ExperimentConfig.parse(apply_overrides({}, overrides)) == ExperimentConfig()
