"""Options of rounds, selection, asynchrony and chaos that exclude each other."""

from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.config.overrides import flatten
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig


def _config(options: Mapping[str, Any]) -> ExperimentConfig:
    tree: dict[str, Any] = {}
    for key, value in options.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    return ExperimentConfig.parse(tree)


FEDBUFF = {"asynchrony.kind": "fedbuff"}
FEDASYNC = {"asynchrony.kind": "fedasync"}
REPLACEMENT = {"training.with_replacement": True}


@pytest.mark.parametrize(
    ("options", "field", "value", "named"),
    [
        ({"fleet.late": "keep"}, "fleet.late", "keep", "fleet.deadline_s"),
        ({"fleet.deadline_s": 3, **REPLACEMENT}, "fleet.deadline_s", 3.0, "training.with_replacement=true"),
        (
            {"fleet.over_selection": 1.5, **REPLACEMENT},
            "fleet.over_selection",
            1.5,
            "training.with_replacement=true",
        ),
        ({**FEDBUFF, "asynchrony.staleness": "refl"}, "asynchrony.staleness", "refl", "fleet.late=keep"),
        ({"asynchrony.staleness": "refl"}, "asynchrony.staleness", "refl", "asynchrony.kind=none"),
        ({"asynchrony.refl_beta": 0.5}, "asynchrony.refl_beta", 0.5, "asynchrony.kind=none"),
        ({"asynchrony.buffer_size": 3}, "asynchrony.buffer_size", 3, "asynchrony.kind=none"),
        ({**FEDBUFF, "asynchrony.mixing": 0.5}, "asynchrony.mixing", 0.5, "asynchrony.kind=fedbuff"),
        ({"selection.candidates": 9}, "selection.candidates", 9, "selection.kind=uniform"),
        (
            {"selection.kind": "samples", "selection.candidates": 9},
            "selection.candidates",
            9,
            "selection.kind=samples",
        ),
        (
            {"selection.kind": "available", "selection.candidates": 4},
            "selection.candidates",
            4,
            "use 5 or more",
        ),
        (
            {"selection.kind": "power_of_choice", "selection.candidates": 21},
            "selection.candidates",
            21,
            "fleet.num_clients=20",
        ),
        (
            {"selection.kind": "power_of_choice", **REPLACEMENT},
            "selection.kind",
            "power_of_choice",
            "training.with_replacement=true",
        ),
        ({**FEDBUFF, "fleet.deadline_s": 3}, "asynchrony.kind", "fedbuff", "fleet.deadline_s"),
        ({**FEDASYNC, "fleet.over_selection": 1.1}, "asynchrony.kind", "fedasync", "fleet.over_selection"),
        ({**FEDBUFF, **REPLACEMENT}, "asynchrony.kind", "fedbuff", "training.with_replacement"),
        (
            {**FEDBUFF, "selection.kind": "power_of_choice"},
            "asynchrony.kind",
            "fedbuff",
            "selection.kind=power_of_choice",
        ),
        ({"runtime.min_clients": 6}, "runtime.min_clients", 6, "training.clients_per_round=5"),
        (
            {**FEDBUFF, "asynchrony.buffer_size": 3, "runtime.min_clients": 4},
            "runtime.min_clients",
            4,
            "3 updates",
        ),
        ({**FEDASYNC, "runtime.min_clients": 2}, "runtime.min_clients", 2, "1 update;"),
        (
            {"runtime.executor": "inprocess", "chaos.client_dies": 0.1},
            "chaos.client_dies",
            0.1,
            "runtime.executor=ray",
        ),
        ({"chaos.client_hangs": 0.1}, "chaos.client_hangs", 0.1, "runtime.task_timeout_s"),
        ({"chaos.aggregator_dies": 0.1}, "chaos.aggregator_dies", 0.1, "runtime.aggregators"),
        (
            {"runtime.executor": "inprocess", "runtime.aggregators": 2},
            "runtime.aggregators",
            2,
            "runtime.executor=ray",
        ),
        ({"wire.value_dtype": "int8", "wire.version": 1}, "wire.value_dtype", "int8", "wire.version=2"),
    ],
)
def test_options_that_exclude_each_other_are_rejected(
    options: Mapping[str, Any], field: str, value: object, named: str
) -> None:
    """The line names the key, its value and the other option."""
    with pytest.raises(ConfigError) as caught:
        _config(options)
    assert (caught.value.field, caught.value.value) == (field, value)
    (line,) = str(caught.value).splitlines()
    assert named in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fleet.deadline_s", 0.0),
        ("fleet.late", "never"),
        ("fleet.over_selection", 0.9),
        ("fleet.over_selection", float("inf")),
        ("selection.kind", "random"),
        ("selection.candidates", 0),
        ("asynchrony.kind", "fedbuf"),
        ("asynchrony.buffer_size", 0),
        ("asynchrony.mixing", 0.0),
        ("asynchrony.mixing", 1.1),
        ("asynchrony.exponent", -0.5),
        ("asynchrony.hinge", -1),
        ("asynchrony.max_staleness", 0),
        ("asynchrony.weight", "samples"),
    ],
)
def test_values_out_of_range_are_rejected(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        _config({key: value})
    assert caught.value.field == key


@pytest.mark.parametrize(
    "options",
    [
        {"fleet.late": "keep", "fleet.deadline_s": 3, "fleet.over_selection": 1.5},
        {
            "fleet.late": "keep",
            "fleet.deadline_s": 3,
            "asynchrony.staleness": "refl",
            "asynchrony.refl_beta": 0,
        },
        {"selection.kind": "samples", "training.with_replacement": True},
        {"selection.kind": "available", "selection.candidates": 5, **FEDBUFF},
        {"selection.kind": "power_of_choice", "selection.candidates": 20, "fleet.over_selection": 2},
        {**FEDBUFF, "asynchrony.buffer_size": 50, "runtime.min_clients": 5},
        {"asynchrony.kind": "fedasync", "asynchrony.mixing": 1, "asynchrony.exponent": 0},
    ],
)
def test_compatible_options_are_accepted(options: Mapping[str, Any]) -> None:
    assert flatten(_config(options).to_dict()).items() >= options.items()
