"""A search that goes on in a new process: what had not ended is handed out again, then what is new; nothing twice."""

from math import inf
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from orchestrator.sweeping.trials import TrialSpec
from tests.support.searches import ParsedCommand
from tests.support.sweeps import ending, new_store

ALL = {
    "algorithm.name": "feddst",
    "training.lr": tune.uniform(0.01, 0.1),
    "algorithm.alpha": tune.loguniform(0.1, 1.0),
    "training.batch_size": tune.randint(5, 9),
    "sparsity.schedule": tune.choice([{"kind": "constant"}, {"kind": "step", "final_level": 0.9}]),
    "sparsity.level": tune.grid_search([0.5, 0.9]),
    "training.rounds": tune.sample_from(lambda config: config["training.batch_size"] + 1),
}


def _first(num_recorded: int, **options: Any) -> list[TrialSpec]:
    """What a process had recorded that handed out so many trials."""
    asked = ParsedCommand(ALL, **options)
    for _ in range(num_recorded):
        spec = asked.next()
        assert spec is not None
        asked.tell(spec, **{goal.name: 0.1 * (1 + spec.number) for goal in asked.objective.goals})
    return asked.recorded


def _ended(specs: list[TrialSpec], *numbers: int) -> dict[int, Any]:
    return {n: ending(specs[n], accuracy=0.1 * (1 + n)) for n in numbers}


@pytest.mark.parametrize("ended", [(), (0,), (2,), (0, 1), (0, 2), (0, 1, 2)])
def test_what_has_not_ended_comes_first_then_what_is_new(ended: tuple[int, ...]) -> None:
    earlier = _first(3, num_samples=5)
    again = ParsedCommand(ALL, num_samples=5, earlier=earlier, endings=_ended(earlier, *ended))
    found = again.rest()
    left = [spec for spec in earlier if spec.number not in ended]
    assert found[: len(left)] == left
    assert [spec.number for spec in found] == [*[n for n in range(3) if n not in ended], 3, 4]
    assert again.recorded == found[len(left) :]
    assert again.next() is None


def test_what_had_ended_is_told_as_it_was() -> None:
    earlier = _first(3)
    again = ParsedCommand(ALL, earlier=earlier, endings=_ended(earlier, 0, 2))
    assert again.told() == [("COMPLETE", [pytest.approx(0.1)]), ("COMPLETE", [pytest.approx(0.3)])]
    spec = again.next()
    assert spec == earlier[1]
    assert spec is not None
    again.tell(spec, accuracy=0.25)
    assert [values for _, values in again.told()] == [[pytest.approx(v)] for v in (0.1, 0.25, 0.3)]


def test_a_search_that_had_ended_hands_out_nothing() -> None:
    earlier = _first(4)
    again = ParsedCommand(ALL, earlier=earlier, endings=_ended(earlier, 0, 1, 2, 3))
    assert again.next() is None
    assert again.recorded == []


def test_none_is_handed_out_twice_over_many_kills(tmp_path: Path) -> None:
    """Each process hands out two, of which the first ends."""
    store = new_store(tmp_path)
    ended: list[int] = []
    for _ in range(6):
        again = ParsedCommand(ALL, num_samples=6, earlier=store.trials(), endings=store.endings())
        first, second = again.next(), again.next()
        store.add_trials(again.recorded)
        assert first is not None
        assert second is None or second.number > first.number
        store.add_ending(ending(first, accuracy=0.5))
        ended.append(first.number)
    assert ended == [0, 1, 2, 3, 4, 5]
    assert [spec.number for spec in store.trials()] == list(range(6))


class TestSeeds:
    """Groups of seeds go on as groups."""

    def test_a_group_is_told_when_its_last_seed_has_ended(self) -> None:
        earlier = _first(2, seeds=2, num_samples=2)
        again = ParsedCommand(ALL, seeds=2, num_samples=2, earlier=earlier, endings=_ended(earlier, 0))
        assert again.told() == []
        spec = again.next()
        assert spec == earlier[1]
        assert spec is not None
        again.tell(spec, accuracy=0.3)
        assert again.told() == [("COMPLETE", [pytest.approx(0.2)])]
        assert [found.number for found in again.rest()] == [2, 3]

    @pytest.mark.parametrize("kept", [1, 2])
    def test_a_group_that_a_kill_cut_short_is_completed(self, kept: int) -> None:
        earlier = _first(1, seeds=3, num_samples=2)
        assert len(earlier) == 3
        again = ParsedCommand(ALL, seeds=3, num_samples=2, earlier=earlier[:kept])
        assert again.recorded == earlier[kept:]
        found = again.rest()
        assert found[:3] == earlier
        assert [spec.number for spec in found] == list(range(6))

    def test_a_failed_seed_is_not_among_the_endings_and_runs_again(self) -> None:
        earlier = _first(2, seeds=2, num_samples=2)
        again = ParsedCommand(ALL, seeds=2, num_samples=2, earlier=earlier, endings=_ended(earlier, 1))
        assert again.next() == earlier[0]

    def test_a_failed_ending_fails_its_group(self) -> None:
        earlier = _first(2, seeds=2, num_samples=2)
        endings = {**_ended(earlier, 0), 1: ending(earlier[1], "failed")}
        again = ParsedCommand(ALL, seeds=2, num_samples=2, earlier=earlier, endings=endings)
        assert again.told() == [("FAIL", None)]


def test_both_goals_of_a_front_are_told_again() -> None:
    options: dict[str, Any] = {"search": "nsga2", "objective": "pareto"}
    earlier = _first(2, **options)
    endings = {0: ending(earlier[0], accuracy=0.5, upload_bytes=7.0)}
    again = ParsedCommand(ALL, earlier=earlier, endings=endings, **options)
    assert again.told() == [("COMPLETE", [0.5, 7.0])]
    assert [spec.number for spec in again.rest()] == [1, 2, 3]


def test_what_was_never_reached_is_told_again() -> None:
    earlier = _first(1, objective="time_to_accuracy=0.5")
    endings = {0: ending(earlier[0], time_to_accuracy_s=inf)}
    again = ParsedCommand(ALL, earlier=earlier, endings=endings, objective="time_to_accuracy=0.5")
    assert again.told() == [("COMPLETE", [inf])]
    assert len(again.rest()) == 3


def test_values_that_were_read_back_from_disk_are_known_again(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.add_trials(_first(4))
    again = ParsedCommand(ALL, earlier=store.trials(), num_samples=5)
    assert again.rest()[:4] == store.trials()


def test_what_is_asked_again_is_what_optuna_learns_of() -> None:
    """Its trials have the recorded values, also those of choices and whole numbers."""
    earlier = _first(4)
    again = ParsedCommand(ALL, earlier=earlier)
    again.rest()
    for spec, known in zip(earlier, again.search._optuna._ot_study.trials, strict=True):
        assert known.params["training.lr"] == spec.values["training.lr"]
        assert known.params["training.batch_size"] == spec.values["training.batch_size"]
        step = spec.values["sparsity.schedule.kind"] == "step"
        assert known.params["sparsity.schedule"] == int(step)
        assert known.params["sparsity.level"] == [0.5, 0.9].index(spec.values["sparsity.level"])


def test_a_dimension_may_lie_below_one_of_mappings() -> None:
    """As in the space `schedules`."""
    dimensions = {
        "algorithm": tune.grid_search([{"name": "feddst", "readjust_every": 2}, {"name": "fedspa"}]),
        "algorithm.alpha": tune.grid_search([0.05, 0.2]),
    }
    first = ParsedCommand(dimensions, num_samples=3)
    assert first.next() is not None
    again = ParsedCommand(dimensions, num_samples=3, earlier=first.recorded)
    assert again.next() == first.recorded[0]
