"""Options of rounds, selection and asynchrony: which go together, and which do not."""

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
WAITS = "rounds that wait for nobody do not go with"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"fleet.late": "keep"},
            "fleet.late=keep: no update is late without a deadline; set fleet.deadline_s",
        ),
        (
            {"fleet.deadline_s": 3, "training.with_replacement": True},
            "fleet.deadline_s=3.0: training.with_replacement=true draws clients twice, and their tasks follow one "
            "another; draw without replacement, or leave it unset",
        ),
        (
            {"asynchrony.buffer_size": 3},
            "asynchrony.buffer_size=3: asynchrony.kind=none has no use for it; leave it unset, or choose another kind",
        ),
        (
            {"asynchrony.kind": "fedbuff", "asynchrony.mixing": 0.5},
            "asynchrony.mixing=0.5: asynchrony.kind=fedbuff has no use for it; leave it unset, or choose another kind",
        ),
        (
            {"fleet.over_selection": 1.5, "training.with_replacement": True},
            "fleet.over_selection=1.5: training.with_replacement=true draws clients twice, and their tasks follow one "
            "another; draw without replacement, or leave it unset",
        ),
        (
            {"selection.candidates": 9},
            "selection.candidates=9: selection.kind=uniform asks nobody first; leave it unset, or use available or "
            "power_of_choice",
        ),
        (
            {"selection.kind": "samples", "selection.candidates": 9},
            "selection.candidates=9: selection.kind=samples asks nobody first; leave it unset, or use available or "
            "power_of_choice",
        ),
        (
            {"selection.kind": "available", "selection.candidates": 4},
            "selection.candidates=4: a cohort of 5 is to be found among them; ask more",
        ),
        (
            {"selection.kind": "power_of_choice", "selection.candidates": 21},
            "selection.candidates=21: it is more than fleet.num_clients=20; ask fewer",
        ),
        (
            {"selection.kind": "power_of_choice", "training.with_replacement": True},
            "selection.kind=power_of_choice: training.with_replacement=true draws clients twice, and these are the "
            "best of several; draw without replacement",
        ),
        (
            {**FEDBUFF, "fleet.deadline_s": 3},
            f"asynchrony.kind=fedbuff: {WAITS} fleet.deadline_s; take that back, or use none",
        ),
        (
            {"asynchrony.kind": "fedasync", "fleet.over_selection": 1.1},
            f"asynchrony.kind=fedasync: {WAITS} fleet.over_selection; take that back, or use none",
        ),
        (
            {**FEDBUFF, "training.with_replacement": True},
            f"asynchrony.kind=fedbuff: {WAITS} training.with_replacement; take that back, or use none",
        ),
        (
            {**FEDBUFF, "selection.kind": "power_of_choice"},
            f"asynchrony.kind=fedbuff: {WAITS} selection.kind=power_of_choice; take that back, or use none",
        ),
        (
            {"runtime.min_clients": 6},
            "runtime.min_clients=6: training.clients_per_round=5 is less; demand fewer",
        ),
        (
            {**FEDBUFF, "asynchrony.buffer_size": 3, "runtime.min_clients": 4},
            "runtime.min_clients=4: with asynchrony.kind=fedbuff a round has 3 updates; demand fewer",
        ),
        (
            {"asynchrony.kind": "fedasync", "runtime.min_clients": 2},
            "runtime.min_clients=2: with asynchrony.kind=fedasync a round has 1 updates; demand fewer",
        ),
    ],
)
def test_rounds_that_cannot_be_are_refused_in_one_line(options: Mapping[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _config(options)
    assert str(caught.value) == line


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
def test_values_out_of_range_are_refused_by_their_key(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        _config({key: value})
    assert caught.value.field == key


@pytest.mark.parametrize(
    "options",
    [
        {"fleet.late": "keep", "fleet.deadline_s": 3, "fleet.over_selection": 1.5},
        {"selection.kind": "samples", "training.with_replacement": True},
        {"selection.kind": "available", "selection.candidates": 5, **FEDBUFF},
        {"selection.kind": "power_of_choice", "selection.candidates": 20, "fleet.over_selection": 2},
        {**FEDBUFF, "asynchrony.buffer_size": 50, "runtime.min_clients": 5},
        {"asynchrony.kind": "fedasync", "asynchrony.mixing": 1, "asynchrony.exponent": 0},
    ],
)
def test_rounds_that_can_be(options: Mapping[str, Any]) -> None:
    assert flatten(_config(options).to_dict()).items() >= options.items()
