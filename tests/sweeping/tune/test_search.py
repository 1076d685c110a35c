"""A search that learns: what it hands out, records and tells Optuna, with no Ray running."""

import json
from math import inf
from typing import Any

import pytest
from ray import tune

from tests.support.searches import ParsedCommand

LR = {"training.lr": tune.uniform(0.01, 0.1)}
ALL = {
    "algorithm.name": "feddst",
    **LR,
    "algorithm.alpha": tune.loguniform(0.1, 1.0),
    "training.batch_size": tune.randint(5, 9),
    "algorithm.growth": tune.choice(["gradient", "random"]),
    "sparsity.level": tune.grid_search([0.5, 0.9]),
}


def test_it_hands_out_as_many_as_were_asked_for() -> None:
    asked = ParsedCommand(LR, num_samples=3)
    assert [spec.number for spec in asked.rest()] == [0, 1, 2]
    assert asked.next() is None
    assert asked.recorded == asked.handed_out


def test_each_trial_is_recorded_before_it_is_handed_out() -> None:
    asked = ParsedCommand(LR, num_samples=2)
    assert asked.recorded == []
    first = asked.next()
    assert asked.recorded == [first]


def test_a_trial_that_cannot_be_has_failed_and_the_next_one_is_handed_out() -> None:
    asked = ParsedCommand(LR, num_samples=3)
    asked.impossible = {1}
    assert [spec.number for spec in asked.rest()] == [0, 2]
    assert [number for number, _ in asked.refused] == [1]
    assert "it cannot be; draw another" in asked.refused[0][1]
    assert [spec.number for spec in asked.recorded] == [0, 1, 2]


def test_values_are_plain_and_in_their_domains() -> None:
    for spec in ParsedCommand(ALL, num_samples=12).rest():
        values = spec.values
        assert list(values) == list(ALL) or set(values) == set(ALL)
        assert 0.01 <= values["training.lr"] <= 0.1
        assert 0.1 <= values["algorithm.alpha"] <= 1.0
        assert 5 <= values["training.batch_size"] < 9
        assert values["algorithm.growth"] in ("gradient", "random")
        assert values["sparsity.level"] in (0.5, 0.9)
        assert values["algorithm.name"] == "feddst"
        assert json.loads(json.dumps(values)) == values


def test_the_seed_decides() -> None:
    runs = [ParsedCommand(ALL, base_seed=seed, num_samples=5).rest() for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_it_learns() -> None:
    """After ten random ones, what TPE asks for lies nearer to where the values were good."""
    asked = ParsedCommand({"training.lr": tune.uniform(0.0, 1.0)}, num_samples=30)
    found = []
    while (spec := asked.next()) is not None:
        found.append(spec.values["training.lr"])
        asked.tell(spec, accuracy=1.0 - abs(found[-1] - 0.8))
    late = [abs(lr - 0.8) for lr in found[15:]]
    assert sum(late) / len(late) < 0.1
    assert max(abs(lr - 0.8) for lr in found[:10]) > 0.3


def test_less_is_better_where_the_goal_says_so() -> None:
    asked = ParsedCommand(
        {"training.lr": tune.uniform(0.0, 1.0)}, num_samples=30, objective="time_to_accuracy=0.5"
    )
    found = []
    while (spec := asked.next()) is not None:
        found.append(spec.values["training.lr"])
        asked.tell(spec, time_to_accuracy_s=found[-1])
    assert sum(found[15:]) / len(found[15:]) < 0.2


def test_a_goal_that_was_never_reached_does_not_stop_it() -> None:
    asked = ParsedCommand(LR, num_samples=25, objective="time_to_accuracy=0.5")
    for n in range(25):
        spec = asked.next()
        assert spec is not None
        asked.tell(spec, time_to_accuracy_s=inf if n % 2 else 3.0)
    assert asked.next() is None
    assert len(asked.told()) == 25
    assert asked.told()[:2] == [("COMPLETE", [3.0]), ("COMPLETE", [inf])]


class TestSeeds:
    """Every configuration is run with each seed."""

    def test_a_configuration_is_as_many_trials_as_there_are_seeds(self) -> None:
        asked = ParsedCommand(LR, num_samples=2, seeds=3, base_seed=7)
        found = asked.rest()
        assert [spec.number for spec in found] == list(range(6))
        assert [spec.values["seed"] for spec in found] == [7, 8, 9, 7, 8, 9]
        rates = [spec.values["training.lr"] for spec in found]
        assert rates == [rates[0]] * 3 + [rates[3]] * 3
        assert rates[0] != rates[3]

    def test_the_whole_group_is_recorded_with_its_first(self) -> None:
        asked = ParsedCommand(LR, seeds=3)
        asked.next()
        assert [spec.number for spec in asked.recorded] == [0, 1, 2]

    def test_optuna_is_told_the_mean_when_the_last_has_ended(self) -> None:
        asked = ParsedCommand(LR, seeds=3)
        group = [asked.next() for _ in range(3)]
        for spec, accuracy in zip(reversed(group), (0.1, 0.2, 0.6), strict=True):
            assert asked.told() == []
            assert spec is not None
            asked.tell(spec, accuracy=accuracy)
        assert asked.told() == [("COMPLETE", [pytest.approx(0.3)])]

    def test_groups_may_end_in_any_order(self) -> None:
        asked = ParsedCommand(LR, seeds=2)
        specs = [asked.next() for _ in range(4)]
        for index, accuracy in ((2, 0.2), (0, 0.6), (3, 0.4), (1, 0.8)):
            spec = specs[index]
            assert spec is not None
            asked.tell(spec, accuracy=accuracy)
        assert asked.told() == [("COMPLETE", [pytest.approx(0.7)]), ("COMPLETE", [pytest.approx(0.3)])]

    def test_one_that_fails_makes_its_group_fail(self) -> None:
        asked = ParsedCommand(LR, seeds=2)
        first, second = asked.next(), asked.next()
        assert first is not None
        assert second is not None
        asked.tell(first)
        asked.tell(second, accuracy=0.9)
        assert asked.told() == [("FAIL", None)]
        assert len(asked.rest()) == 2 * 4 - 2, "the others go on"

    @pytest.mark.parametrize("result", [None, {}, {"done": True}])
    def test_a_result_without_the_goals_is_a_failure(self, result: dict[str, Any] | None) -> None:
        asked = ParsedCommand(LR)
        asked.next()
        asked.search.on_trial_complete("tune-0", result)
        assert asked.told() == [("FAIL", None)]


class TestDimensions:
    """What Optuna does not know by itself."""

    def test_choices_may_be_mappings_and_lists(self) -> None:
        choices = [{"kind": "constant"}, {"kind": "step", "final_level": 0.9}, {"kind": "x", "steps": (1, 2)}]
        flat = [
            {"sparsity.schedule.kind": "constant"},
            {"sparsity.schedule.kind": "step", "sparsity.schedule.final_level": 0.9},
            {"sparsity.schedule.kind": "x", "sparsity.schedule.steps": [1, 2]},
        ]
        found = [
            s.values
            for s in ParsedCommand({"sparsity.schedule": tune.choice(choices)}, num_samples=20).rest()
        ]
        assert all(values in flat for values in found)
        assert all(values in found for values in flat)

    def test_a_choice_may_be_none(self) -> None:
        found = ParsedCommand({"training.clip_norm": tune.choice([None, 1.0])}, num_samples=12).rest()
        assert {spec.values["training.clip_norm"] for spec in found} == {None, 1.0}

    def test_a_computed_value_follows_what_it_is_computed_from(self) -> None:
        dimensions = {
            "training.local_epochs": tune.sample_from(lambda config: config["training.batch_size"] // 5),
            "training.batch_size": tune.choice([5, 10, 15]),
        }
        for spec in ParsedCommand(dimensions, num_samples=8).rest():
            assert spec.values["training.local_epochs"] == spec.values["training.batch_size"] // 5

    def test_a_computed_value_may_follow_another_as_in_a_grid(self) -> None:
        dimensions = {
            "training.batch_size": tune.choice([5, 10, 15]),
            "training.local_epochs": tune.sample_from(lambda config: config["training.batch_size"] // 5),
            "training.rounds": tune.sample_from(lambda config: config["training.local_epochs"] + 1),
        }
        for spec in ParsedCommand(dimensions, num_samples=4).rest():
            assert spec.values["training.rounds"] == spec.values["training.batch_size"] // 5 + 1

    def test_fixed_values_stay(self) -> None:
        (spec,) = ParsedCommand({**LR, "algorithm": {"name": "fedprox", "mu": 0.5}}, num_samples=1).rest()
        assert spec.values["algorithm.name"] == "fedprox"
        assert spec.values["algorithm.mu"] == 0.5


def test_a_front_is_looked_for_with_both_goals() -> None:
    asked = ParsedCommand(LR, search="nsga2", objective="pareto", num_samples=3, seeds=2)
    for n in range(6):
        spec = asked.next()
        assert spec is not None
        asked.tell(spec, accuracy=0.1 * n, upload_bytes=100.0 * n)
    assert asked.next() is None
    assert asked.told() == [
        ("COMPLETE", [pytest.approx(0.05), 50.0]),
        ("COMPLETE", [pytest.approx(0.25), 250.0]),
        ("COMPLETE", [pytest.approx(0.45), 450.0]),
    ]


def test_generations_go_on() -> None:
    """NSGA-II breeds from its second population on."""
    asked = ParsedCommand(ALL, search="nsga2", objective="pareto", num_samples=60)
    assert len(asked.rest()) == 60
