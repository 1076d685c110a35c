"""Tune's schedulers: their class, their settings, and perturbed values that stay in their domains."""

from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.schedulers.pbt import _PBTTrialState

from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.tune.schedulers import (
    RoundBudget,
    SynchronizedPBT,
    _clip_to_domains,
    make_scheduler,
)
from tests.support.sweeps import request

MUTATIONS = {
    "training.lr": tune.uniform(0.01, 0.1),
    "training.batch_size": tune.randint(5, 9),
    "sparsity.schedule.kind": ["linear", "cosine"],
}


def _make(
    objective: str = "accuracy", rounds: int = 12, eval_every: int = 1, num_done: int = 0, **options: Any
) -> TrialScheduler:
    budget = RoundBudget(rounds=rounds, eval_every=eval_every, num_done=num_done)
    return make_scheduler(request(**options), Objective.parse(objective), budget, MUTATIONS)


def _settings(scheduler: TrialScheduler, *names: str) -> list[Any]:
    return [vars(scheduler)[name] for name in names]


def test_fifo_stops_no_trial() -> None:
    assert type(_make()) is FIFOScheduler
    assert type(_make("pareto")) is FIFOScheduler


@pytest.mark.parametrize(
    ("objective", "metric"),
    [
        ("accuracy", "validation_accuracy"),
        ("accuracy_at_upload=5MB", "validation_accuracy_at_upload"),
        ("personal_accuracy", "validation_personal_accuracy"),
        ("test_accuracy", "test_accuracy"),
    ],
)
@pytest.mark.parametrize("name", ["asha", "median", "pbt"])
def test_schedulers_compare_the_objective_at_equal_rounds(name: str, objective: str, metric: str) -> None:
    scheduler = _make(objective, scheduler=name)
    assert scheduler.metric == metric
    assert _settings(scheduler, "_time_attr") == ["round"]
    assert scheduler.set_search_properties(None, None)


@pytest.mark.parametrize(
    ("rounds", "option", "grace"), [(12, None, 3), (7, None, 1), (3, None, 1), (12, 5, 5), (3, 5, 3)]
)
def test_asha_has_a_default_grace_of_a_quarter_of_the_rounds(
    rounds: int, option: int | None, grace: int
) -> None:
    scheduler = _make(rounds=rounds, scheduler="asha", grace_rounds=option)
    assert isinstance(scheduler, ASHAScheduler)
    assert _settings(scheduler, "_max_t", "_reduction_factor") == [rounds, 3]
    (bracket,) = scheduler._brackets
    assert min(milestone for milestone, _ in bracket._rungs) == grace


@pytest.mark.parametrize(("option", "grace"), [(None, 3), (5, 5)])
def test_median_stops_trials_after_the_grace_rounds(option: int | None, grace: int) -> None:
    scheduler = _make(scheduler="median", grace_rounds=option)
    assert isinstance(scheduler, MedianStoppingRule)
    assert _settings(scheduler, "_grace_period", "_min_samples_required") == [grace, 2]


@pytest.mark.parametrize(("option", "interval"), [(None, 3), (2, 2)])
def test_pbt_perturbs_the_values_at_intervals(option: int | None, interval: int) -> None:
    scheduler = _make(scheduler="pbt", perturb_rounds=option)
    assert isinstance(scheduler, PopulationBasedTraining)
    assert _settings(scheduler, "_perturbation_interval", "_log_config") == [interval, False]
    assert scheduler._hyperparam_mutations == {"trial": {"values": MUTATIONS}}


@pytest.mark.parametrize(
    ("option", "eval_every", "num_done", "interval", "first"),
    [(2, 1, 0, 2, 2), (2, 3, 0, 3, 3), (4, 3, 0, 6, 6), (2, 1, 5, 2, 6), (2, 1, 6, 2, 8), (3, 2, 7, 4, 8)],
)
def test_perturbations_are_at_rounds_where_all_trials_report(
    option: int, eval_every: int, num_done: int, interval: int, first: int
) -> None:
    """Perturbations are at multiples of the evaluation interval, and after all rounds done before a resume."""
    scheduler = _make(
        rounds=40, eval_every=eval_every, num_done=num_done, scheduler="pbt", perturb_rounds=option
    )
    assert _settings(scheduler, "_perturbation_interval", "_next_perturbation_sync") == [interval, first]


class FakePopulationTrial:
    """A trial of a population with the attributes that the scheduler reads."""

    def __init__(self, status: str = "PAUSED") -> None:
        self.status, self.experiment_tag, self.config, self.evaluated_params = status, "", {}, {}

    def is_finished(self) -> bool:
        return self.status in ("ERROR", "TERMINATED")


class FakeTuneController:
    """The methods of Tune's controller that the scheduler calls."""

    def __init__(self, trials: list[FakePopulationTrial]) -> None:
        self.trials = trials

    def get_trials(self) -> list[FakePopulationTrial]:
        return self.trials

    def get_live_trials(self) -> set[FakePopulationTrial]:
        """Return all trials: Tune keeps trials that have just failed among the live trials for a while."""
        return set(self.trials)


def test_population_continues_when_its_last_running_trial_fails() -> None:
    scheduler = _make(scheduler="pbt", perturb_rounds=2)
    assert isinstance(scheduler, SynchronizedPBT)
    trials = [FakePopulationTrial(), FakePopulationTrial(), FakePopulationTrial("RUNNING")]
    for trial in trials:
        scheduler._trial_state[trial] = _PBTTrialState(trial)
        scheduler._trial_state[trial].last_train_time = 2 if trial.status == "PAUSED" else 0
    assert scheduler.choose_trial_to_run(FakeTuneController(trials)) is None, "the third trial still runs"
    trials[2].status = "ERROR"
    assert scheduler.choose_trial_to_run(FakeTuneController(trials)) in trials[:2]
    assert scheduler._next_perturbation_sync == 4


def test_pbt_perturbs_short_runs_after_every_round() -> None:
    assert _settings(_make(rounds=2, scheduler="pbt"), "_perturbation_interval") == [1]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"training.lr": 0.001}, {"training.lr": 0.01}),
        ({"training.lr": 0.12}, {"training.lr": 0.1}),
        ({"training.lr": 0.05}, {"training.lr": 0.05}),
        ({"training.batch_size": 4}, {"training.batch_size": 5}),
        ({"training.batch_size": 9}, {"training.batch_size": 8}),
        ({"training.batch_size": 12}, {"training.batch_size": 8}),
        ({"sparsity.schedule.kind": "cosine"}, {"sparsity.schedule.kind": "cosine"}),
        ({"algorithm.mu": 99.0}, {"algorithm.mu": 99.0}),
    ],
)
def test_perturbed_values_stay_in_their_domains(before: dict[str, Any], after: dict[str, Any]) -> None:
    inside = {"training.lr": 0.02, "training.batch_size": 6, "sparsity.schedule.kind": "linear"}
    config = {"sweep": 1, "trial": {"number": 3, "values": inside | before}}
    found = _clip_to_domains(config, MUTATIONS)
    assert found == {"sweep": 1, "trial": {"number": 3, "values": inside | after}}


def test_tune_s_perturbations_are_plain_and_in_their_domains() -> None:
    """Tune samples these perturbations itself."""
    scheduler = _make(scheduler="pbt")
    assert isinstance(scheduler, PopulationBasedTraining)
    values = {"training.lr": 0.1, "training.batch_size": 8, "sparsity.schedule.kind": "linear", "seed": 1}

    side = SimpleNamespace(config={"trial": {"number": 0, "values": values}})
    for _ in range(60):
        found, _ = scheduler._get_new_config(side, side)
        changed = found["trial"]["values"]
        assert 0.01 <= changed["training.lr"] <= 0.1
        assert changed["training.batch_size"] in (5, 6, 7, 8)
        assert changed["sparsity.schedule.kind"] in ("linear", "cosine")
        assert changed["seed"] == 1
        kinds = [type(changed[key]) for key in ("training.lr", "training.batch_size")]
        assert kinds == [float, int]
    assert values["training.lr"] == 0.1
