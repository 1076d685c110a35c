"""The adaptive search after a resume: it repeats trials without an ending, and then suggests new trials."""

from math import inf
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from orchestrator.sweeping.trial_specs import TrialSpec
from tests.support.searches import SearchHarness
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
    """Return the trials that a process recorded which ran `num_recorded` trials."""
    harness = SearchHarness(ALL, **options)
    for _ in range(num_recorded):
        spec = harness.next()
        assert spec is not None
        harness.tell(spec, **{metric.name: 0.1 * (1 + spec.number) for metric in harness.objective.metrics})
    return harness.recorded


def _ended(specs: list[TrialSpec], *numbers: int) -> dict[int, Any]:
    return {n: ending(specs[n], validation_accuracy=0.1 * (1 + n)) for n in numbers}


@pytest.mark.parametrize("ended", [(), (0,), (2,), (0, 1), (0, 2), (0, 1, 2)])
def test_resume_suggests_unended_trials_first_and_then_new_trials(ended: tuple[int, ...]) -> None:
    earlier = _first(3, num_samples=5)
    again = SearchHarness(ALL, num_samples=5, earlier=earlier, endings=_ended(earlier, *ended))
    found = again.run_remaining()
    left = [spec for spec in earlier if spec.number not in ended]
    assert found[: len(left)] == left
    assert [spec.number for spec in found] == [*[n for n in range(3) if n not in ended], 3, 4]
    assert again.recorded == found[len(left) :]
    assert again.next() is None


def test_resume_replays_the_recorded_results() -> None:
    earlier = _first(3)
    again = SearchHarness(ALL, earlier=earlier, endings=_ended(earlier, 0, 2))
    assert again.optuna_results() == [("COMPLETE", [pytest.approx(0.1)]), ("COMPLETE", [pytest.approx(0.3)])]
    spec = again.next()
    assert spec == earlier[1]
    assert spec is not None
    again.tell(spec, validation_accuracy=0.25)
    assert [values for _, values in again.optuna_results()] == [[pytest.approx(v)] for v in (0.1, 0.25, 0.3)]


def test_resume_of_an_ended_search_suggests_nothing() -> None:
    earlier = _first(4)
    again = SearchHarness(ALL, earlier=earlier, endings=_ended(earlier, 0, 1, 2, 3))
    assert again.next() is None
    assert again.recorded == []


def test_no_trial_ends_twice_over_many_kills(tmp_path: Path) -> None:
    """Each process starts two trials and is killed after the first trial ends."""
    store = new_store(tmp_path)
    ended: list[int] = []
    for _ in range(6):
        again = SearchHarness(ALL, num_samples=6, earlier=store.trials(), endings=store.endings())
        first, second = again.next(), again.next()
        store.add_trials(again.recorded)
        assert first is not None
        assert second is None or second.number > first.number
        store.add_ending(ending(first, validation_accuracy=0.5))
        ended.append(first.number)
    assert ended == [0, 1, 2, 3, 4, 5]
    assert [spec.number for spec in store.trials()] == list(range(6))


class TestSeeds:
    """A resume keeps the seeds of a configuration together."""

    def test_optuna_learns_a_group_when_its_last_seed_has_ended(self) -> None:
        earlier = _first(2, seeds=2, num_samples=2)
        again = SearchHarness(ALL, seeds=2, num_samples=2, earlier=earlier, endings=_ended(earlier, 0))
        assert again.optuna_results() == []
        spec = again.next()
        assert spec == earlier[1]
        assert spec is not None
        again.tell(spec, validation_accuracy=0.3)
        assert again.optuna_results() == [("COMPLETE", [pytest.approx(0.2)])]
        assert [found.number for found in again.run_remaining()] == [2, 3]

    @pytest.mark.parametrize("kept", [1, 2])
    def test_resume_records_the_missing_seeds_of_a_group(self, kept: int) -> None:
        earlier = _first(1, seeds=3, num_samples=2)
        assert len(earlier) == 3
        again = SearchHarness(ALL, seeds=3, num_samples=2, earlier=earlier[:kept])
        assert again.recorded == earlier[kept:]
        found = again.run_remaining()
        assert found[:3] == earlier
        assert [spec.number for spec in found] == list(range(6))

    def test_seed_without_ending_runs_again(self) -> None:
        earlier = _first(2, seeds=2, num_samples=2)
        again = SearchHarness(ALL, seeds=2, num_samples=2, earlier=earlier, endings=_ended(earlier, 1))
        assert again.next() == earlier[0]

    def test_failed_ending_fails_its_group(self) -> None:
        earlier = _first(2, seeds=2, num_samples=2)
        endings = {**_ended(earlier, 0), 1: ending(earlier[1], "failed")}
        again = SearchHarness(ALL, seeds=2, num_samples=2, earlier=earlier, endings=endings)
        assert again.optuna_results() == [("FAIL", None)]


def test_resume_replays_both_metrics_of_a_pareto_search() -> None:
    options: dict[str, Any] = {"search": "nsga2", "objective": "pareto"}
    earlier = _first(2, **options)
    endings = {0: ending(earlier[0], validation_accuracy=0.5, upload_bytes=7.0)}
    again = SearchHarness(ALL, earlier=earlier, endings=endings, **options)
    assert again.optuna_results() == [("COMPLETE", [0.5, 7.0])]
    assert [spec.number for spec in again.run_remaining()] == [1, 2, 3]


def test_resume_replays_infinite_metrics() -> None:
    earlier = _first(1, objective="time_to_accuracy=0.5")
    endings = {0: ending(earlier[0], validation_time_to_accuracy_s=inf)}
    again = SearchHarness(ALL, earlier=earlier, endings=endings, objective="time_to_accuracy=0.5")
    assert again.optuna_results() == [("COMPLETE", [inf])]
    assert len(again.run_remaining()) == 3


def test_resume_accepts_values_read_from_disk(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.add_trials(_first(4))
    again = SearchHarness(ALL, earlier=store.trials(), num_samples=5)
    assert again.run_remaining()[:4] == store.trials()


def test_replayed_suggestions_have_the_recorded_values() -> None:
    """Optuna's trials have the recorded values, also for choices and integers."""
    earlier = _first(4)
    again = SearchHarness(ALL, earlier=earlier)
    again.run_remaining()
    for spec, known in zip(earlier, again.search._optuna._ot_study.trials, strict=True):
        assert known.params["training.lr"] == spec.values["training.lr"]
        assert known.params["training.batch_size"] == spec.values["training.batch_size"]
        step = spec.values["sparsity.schedule.kind"] == "step"
        assert known.params["sparsity.schedule"] == int(step)
        assert known.params["sparsity.level"] == [0.5, 0.9].index(spec.values["sparsity.level"])


def test_resume_accepts_a_dimension_below_a_dimension_of_mappings() -> None:
    """The space `schedules` has such dimensions."""
    dimensions = {
        "algorithm": tune.grid_search([{"name": "feddst", "readjust_every": 2}, {"name": "fedspa"}]),
        "algorithm.alpha": tune.grid_search([0.05, 0.2]),
    }
    first = SearchHarness(dimensions, num_samples=3)
    assert first.next() is not None
    again = SearchHarness(dimensions, num_samples=3, earlier=first.recorded)
    assert again.next() == first.recorded[0]
