"""The adaptive search: the trials that it suggests and records, and the results that Optuna learns."""

import json
from math import inf
from typing import Any

import pytest
from ray import tune

from tests.support.searches import SearchHarness

LR = {"training.lr": tune.uniform(0.01, 0.1)}
ALL = {
    "algorithm.name": "feddst",
    **LR,
    "algorithm.alpha": tune.loguniform(0.1, 1.0),
    "training.batch_size": tune.randint(5, 9),
    "algorithm.growth": tune.choice(["gradient", "random"]),
    "sparsity.level": tune.grid_search([0.5, 0.9]),
}


def test_search_suggests_the_requested_number_of_trials() -> None:
    harness = SearchHarness(LR, num_samples=3)
    assert [spec.number for spec in harness.run_remaining()] == [0, 1, 2]
    assert harness.next() is None
    assert harness.recorded == harness.handed_out


def test_trial_is_recorded_before_it_is_suggested() -> None:
    harness = SearchHarness(LR, num_samples=2)
    assert harness.recorded == []
    first = harness.next()
    assert harness.recorded == [first]


def test_invalid_trial_is_rejected_and_the_next_trial_suggested() -> None:
    harness = SearchHarness(LR, num_samples=3)
    harness.invalid = {1}
    assert [spec.number for spec in harness.run_remaining()] == [0, 2]
    assert [number for number, _ in harness.rejected] == [1]
    assert harness.rejected[0][1].field == "training.lr"
    assert [spec.number for spec in harness.recorded] == [0, 1, 2]


def test_values_are_plain_and_in_their_domains() -> None:
    for spec in SearchHarness(ALL, num_samples=12).run_remaining():
        values = spec.values
        assert list(values) == list(ALL) or set(values) == set(ALL)
        assert 0.01 <= values["training.lr"] <= 0.1
        assert 0.1 <= values["algorithm.alpha"] <= 1.0
        assert 5 <= values["training.batch_size"] < 9
        assert values["algorithm.growth"] in ("gradient", "random")
        assert values["sparsity.level"] in (0.5, 0.9)
        assert values["algorithm.name"] == "feddst"
        assert json.loads(json.dumps(values)) == values


def test_suggestions_depend_on_the_seed() -> None:
    runs = [SearchHarness(ALL, base_seed=seed, num_samples=5).run_remaining() for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_tpe_suggests_values_near_good_results() -> None:
    """After ten random suggestions, TPE suggests values nearer to the best value."""
    harness = SearchHarness({"training.lr": tune.uniform(0.0, 1.0)}, num_samples=30)
    found = []
    while (spec := harness.next()) is not None:
        found.append(spec.values["training.lr"])
        harness.tell(spec, validation_accuracy=1.0 - abs(found[-1] - 0.8))
    late = [abs(lr - 0.8) for lr in found[15:]]
    assert sum(late) / len(late) < 0.1
    assert max(abs(lr - 0.8) for lr in found[:10]) > 0.3


def test_tpe_minimises_a_minimised_goal() -> None:
    harness = SearchHarness(
        {"training.lr": tune.uniform(0.0, 1.0)}, num_samples=30, objective="time_to_accuracy=0.5"
    )
    found = []
    while (spec := harness.next()) is not None:
        found.append(spec.values["training.lr"])
        harness.tell(spec, validation_time_to_accuracy_s=found[-1])
    assert sum(found[15:]) / len(found[15:]) < 0.2


def test_infinite_goals_do_not_end_the_search() -> None:
    harness = SearchHarness(LR, num_samples=25, objective="time_to_accuracy=0.5")
    for n in range(25):
        spec = harness.next()
        assert spec is not None
        harness.tell(spec, validation_time_to_accuracy_s=inf if n % 2 else 3.0)
    assert harness.next() is None
    assert len(harness.optuna_results()) == 25
    assert harness.optuna_results()[:2] == [("COMPLETE", [3.0]), ("COMPLETE", [inf])]


class TestSeeds:
    """Every configuration has one trial per seed."""

    def test_configuration_becomes_one_trial_per_seed(self) -> None:
        harness = SearchHarness(LR, num_samples=2, seeds=3, base_seed=7)
        found = harness.run_remaining()
        assert [spec.number for spec in found] == list(range(6))
        assert [spec.values["seed"] for spec in found] == [7, 8, 9, 7, 8, 9]
        rates = [spec.values["training.lr"] for spec in found]
        assert rates == [rates[0]] * 3 + [rates[3]] * 3
        assert rates[0] != rates[3]

    def test_all_seeds_are_recorded_with_the_first_trial(self) -> None:
        harness = SearchHarness(LR, seeds=3)
        harness.next()
        assert [spec.number for spec in harness.recorded] == [0, 1, 2]

    def test_optuna_learns_the_mean_when_the_last_seed_has_ended(self) -> None:
        harness = SearchHarness(LR, seeds=3)
        group = [harness.next() for _ in range(3)]
        for spec, accuracy in zip(reversed(group), (0.1, 0.2, 0.6), strict=True):
            assert harness.optuna_results() == []
            assert spec is not None
            harness.tell(spec, validation_accuracy=accuracy)
        assert harness.optuna_results() == [("COMPLETE", [pytest.approx(0.3)])]

    def test_groups_may_end_in_any_order(self) -> None:
        harness = SearchHarness(LR, seeds=2)
        specs = [harness.next() for _ in range(4)]
        for index, accuracy in ((2, 0.2), (0, 0.6), (3, 0.4), (1, 0.8)):
            spec = specs[index]
            assert spec is not None
            harness.tell(spec, validation_accuracy=accuracy)
        assert harness.optuna_results() == [
            ("COMPLETE", [pytest.approx(0.7)]),
            ("COMPLETE", [pytest.approx(0.3)]),
        ]

    def test_failed_seed_fails_its_configuration(self) -> None:
        harness = SearchHarness(LR, seeds=2)
        first, second = harness.next(), harness.next()
        assert first is not None
        assert second is not None
        harness.tell(first)
        harness.tell(second, validation_accuracy=0.9)
        assert harness.optuna_results() == [("FAIL", None)]
        assert len(harness.run_remaining()) == 2 * 4 - 2, "the search continues"

    @pytest.mark.parametrize("result", [None, {}, {"done": True}])
    def test_result_without_the_goals_is_a_failure(self, result: dict[str, Any] | None) -> None:
        harness = SearchHarness(LR)
        harness.next()
        harness.search.on_trial_complete("tune-0", result)
        assert harness.optuna_results() == [("FAIL", None)]


class TestDimensions:
    """Dimensions that Optuna does not support itself."""

    def test_choices_may_be_mappings_and_lists(self) -> None:
        choices = [{"kind": "constant"}, {"kind": "step", "final_level": 0.9}, {"kind": "x", "steps": (1, 2)}]
        flat = [
            {"sparsity.schedule.kind": "constant"},
            {"sparsity.schedule.kind": "step", "sparsity.schedule.final_level": 0.9},
            {"sparsity.schedule.kind": "x", "sparsity.schedule.steps": [1, 2]},
        ]
        found = [
            s.values
            for s in SearchHarness(
                {"sparsity.schedule": tune.choice(choices)}, num_samples=20
            ).run_remaining()
        ]
        assert all(values in flat for values in found)
        assert all(values in found for values in flat)

    def test_choice_may_be_none(self) -> None:
        found = SearchHarness(
            {"training.clip_norm": tune.choice([None, 1.0])}, num_samples=12
        ).run_remaining()
        assert {spec.values["training.clip_norm"] for spec in found} == {None, 1.0}

    def test_computed_value_uses_a_later_dimension(self) -> None:
        dimensions = {
            "training.local_epochs": tune.sample_from(lambda config: config["training.batch_size"] // 5),
            "training.batch_size": tune.choice([5, 10, 15]),
        }
        for spec in SearchHarness(dimensions, num_samples=8).run_remaining():
            assert spec.values["training.local_epochs"] == spec.values["training.batch_size"] // 5

    def test_computed_value_uses_another_computed_value(self) -> None:
        dimensions = {
            "training.batch_size": tune.choice([5, 10, 15]),
            "training.local_epochs": tune.sample_from(lambda config: config["training.batch_size"] // 5),
            "training.rounds": tune.sample_from(lambda config: config["training.local_epochs"] + 1),
        }
        for spec in SearchHarness(dimensions, num_samples=4).run_remaining():
            assert spec.values["training.rounds"] == spec.values["training.batch_size"] // 5 + 1

    def test_constants_are_values_of_every_trial(self) -> None:
        (spec,) = SearchHarness(
            {**LR, "algorithm": {"name": "fedprox", "mu": 0.5}}, num_samples=1
        ).run_remaining()
        assert spec.values["algorithm.name"] == "fedprox"
        assert spec.values["algorithm.mu"] == 0.5


def test_optuna_learns_both_goals_of_a_pareto_search() -> None:
    harness = SearchHarness(LR, search="nsga2", objective="pareto", num_samples=3, seeds=2)
    for n in range(6):
        spec = harness.next()
        assert spec is not None
        harness.tell(spec, validation_accuracy=0.1 * n, upload_bytes=100.0 * n)
    assert harness.next() is None
    assert harness.optuna_results() == [
        ("COMPLETE", [pytest.approx(0.05), 50.0]),
        ("COMPLETE", [pytest.approx(0.25), 250.0]),
        ("COMPLETE", [pytest.approx(0.45), 450.0]),
    ]


def test_nsga2_continues_after_its_first_population() -> None:
    """NSGA-II uses crossover from its second population on."""
    harness = SearchHarness(ALL, search="nsga2", objective="pareto", num_samples=60)
    assert len(harness.run_remaining()) == 60
