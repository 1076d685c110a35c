"""Conversion of a sweep's values to the types of their keys: several spellings of a value give one trial."""

from pathlib import Path

import pytest
from ray import tune

from orchestrator.config.overrides import parse_overrides
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.space import grids_as_choices
from orchestrator.sweeping.value_types import typed_dimensions, typed_value
from tests.support.sweeps import BASE


def _values(override: str) -> list[object]:
    """Return the values that the trials of a sweep with this override have for the override's key."""
    overrides = parse_overrides([override, "algorithm.name=fedprox"])
    plan = plan_sweep(SweepRequest(space="smoke", config=BASE, overrides=overrides))
    return [trial.values[override.partition("=")[0]] for trial in plan.trials()]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("training.lr=[1e-2, 0.01, 1.0e-2]", [0.01]),
        ("training.lr=[1, 1.0, 01]", [1.0]),
        ("training.lr=[0.1, 1e-2, .1]", [0.1, 0.01]),
        ("training.rounds=[2, 02, 2.0, 3]", [2, 3]),
        ("training.reshuffle=[true, yes, no]", [True, False]),
        ("algorithm.mu=[1e-2, 0.01, 0.02]", [0.01, 0.02]),
        ("sparsity.level=[null, ~, 5e-1]", [None, 0.5]),
        ("data.client_column=[010, 10, '10', yes, true]", ["010", "10", "yes", "true"]),
        ("sparsity.schedule.kind=[linear, linear, cubic]", ["linear", "cubic"]),
    ],
)
def test_spellings_of_one_value_give_one_trial(override: str, values: list[object]) -> None:
    found = _values(override)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_values_of_a_space_file_are_converted_like_overrides(tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text(
        "from ray import tune\nSPACE = {\n"
        '    "training.lr": tune.grid_search(["1e-2", 0.01, 0.02]),\n    "training.rounds": "02",\n}\n'
    )
    plan = plan_sweep(SweepRequest(space=str(space), config=BASE))
    assert [trial.values["training.lr"] for trial in plan.trials()] == [0.01, 0.02]
    assert plan.config.training.rounds == 2


def test_choices_have_distinct_values() -> None:
    dimensions = typed_dimensions({"training.lr": tune.grid_search(["1e-2", 0.01, "0.02"])}, {})
    assert grids_as_choices(dimensions)["training.lr"].categories == [0.01, 0.02]


def test_other_spelling_in_the_config_file_is_not_overridden(tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text('SPACE = {"training.lr": 0.01, "training.rounds": 2}\n')
    config = {"training": {"lr": "1e-2", "rounds": "03"}}
    assert plan_sweep(SweepRequest(space=str(space), config=config)).overridden == ("training.rounds",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.lr", "fast"),
        ("training.lr", True),
        ("training.rounds", 2.5),
        ("training.nothing", "010"),
        ("nothing", "010"),
        ("training", "010"),
        ("algorithm.nothing", "1e-2"),
        ("training.lr", None),
        ("sparsity.layer_density", {"a": "1e-2"}),
    ],
)
def test_value_that_does_not_fit_its_key_stays_unchanged(key: str, value: object) -> None:
    assert typed_value(key, value, ["fedprox", "no_such_method"]) is value


def test_option_of_any_method_is_converted() -> None:
    assert typed_value("algorithm.mu", "1e-2", ["no_such_method", "fedavg", "fedprox"]) == 0.01
