"""Values of a sweep by the type of their keys: one value in several spellings is one trial."""

from pathlib import Path
from typing import Any

import pytest
from ray import tune

from orchestrator.config.overrides import parse_overrides
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.space import lists_as_choices
from orchestrator.sweeping.typed import typed_dimensions, typed_value
from tests.support.sweeps import BASE


def _values(word: str, *more: str, **options: Any) -> list[object]:
    """What the trials of a sweep over the words have under the first word's key."""
    overrides = parse_overrides([word, "algorithm.name=fedprox", *more])
    plan = plan_sweep(SweepRequest(space="smoke", config=BASE, overrides=overrides, **options))
    return [trial.values[word.partition("=")[0]] for trial in plan.trials()]


@pytest.mark.parametrize(
    ("word", "values"),
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
def test_spellings_of_one_value_are_one_trial(word: str, values: list[object]) -> None:
    found = _values(word)
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_the_list_of_a_space_file_is_read_as_a_word_is(tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text(
        "from ray import tune\nSPACE = {\n"
        '    "training.lr": tune.grid_search(["1e-2", 0.01, 0.02]),\n    "training.rounds": "02",\n}\n'
    )
    plan = plan_sweep(SweepRequest(space=str(space), config=BASE))
    assert [trial.values["training.lr"] for trial in plan.trials()] == [0.01, 0.02]
    assert plan.config.training.rounds == 2


def test_a_search_draws_from_distinct_values() -> None:
    dimensions = typed_dimensions({"training.lr": tune.grid_search(["1e-2", 0.01, "0.02"])}, {})
    assert lists_as_choices(dimensions)["training.lr"].categories == [0.01, 0.02]


def test_a_file_that_says_the_same_in_other_words_is_not_overruled(tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text('SPACE = {"training.lr": 0.01, "training.rounds": 2}\n')
    config = {"training": {"lr": "1e-2", "rounds": "03"}}
    assert plan_sweep(SweepRequest(space=str(space), config=config)).overruled == ("training.rounds",)


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
def test_what_does_not_fit_its_key_is_left_for_the_check(key: str, value: object) -> None:
    assert typed_value(key, value, ["fedprox", "no_such_method"]) is value


def test_an_option_is_found_in_any_of_the_methods() -> None:
    assert typed_value("algorithm.mu", "1e-2", ["no_such_method", "fedavg", "fedprox"]) == 0.01
