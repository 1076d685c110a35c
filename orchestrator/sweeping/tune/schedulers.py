"""Which trials are stopped early, or go on with another's model: Tune's schedulers, on rounds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.sample import Float, Integer

from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.request import SweepRequest

#: ASHA keeps one trial in so many at each rung
REDUCTION_FACTOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundBudget:
    """How the trials go: the most rounds of one, how often they are evaluated, how many rounds one has done already."""

    rounds: int
    eval_every: int
    num_done: int


@final
class SynchronizedPBT(PopulationBasedTraining):
    """Tune's population-based training at equal rounds, which here does not wait for a trial that has gone.

    Tune perturbs when the last trial reports. If that one fails instead, or ends, all others are paused for ever; here
    they go on without that perturbation.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """See TrialScheduler."""
        chosen = super().choose_trial_to_run(tune_controller)
        # among the live ones Tune still has some that have just failed
        alive = [trial for trial in tune_controller.get_live_trials() if not trial.is_finished()]
        if chosen is None and alive and all(trial.status == Trial.PAUSED for trial in alive):
            reached = max(self._trial_state[trial].last_train_time for trial in alive)
            self._next_perturbation_sync = int(reached + self._perturbation_interval)
            chosen = super().choose_trial_to_run(tune_controller)
        return chosen


def make_scheduler(
    request: SweepRequest, objective: Objective, course: RoundBudget, mutations: Mapping[str, Any]
) -> TrialScheduler:
    """The request's scheduler."""
    if request.scheduler == "fifo":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    goal = objective.goals[0]
    common: dict[str, Any] = {"time_attr": "round", "metric": goal.name, "mode": goal.mode}
    quarter = max(1, course.rounds // 4)
    grace = request.grace_rounds or quarter
    if request.scheduler == "asha":
        return ASHAScheduler(
            **common, max_t=course.rounds, grace_period=grace, reduction_factor=REDUCTION_FACTOR
        )
    if request.scheduler == "median":
        return MedianStoppingRule(**common, grace_period=grace, min_samples_required=2)
    # all trials are to meet at each perturbation, also those that go on from different rounds
    interval = _multiple_above(request.perturb_rounds or quarter, course.eval_every)
    return SynchronizedPBT(
        **common,
        perturbation_interval=interval,
        burn_in_period=_multiple_above(course.num_done + 1, interval) if course.num_done else 0,
        hyperparam_mutations={"trial": {"values": dict(mutations)}},
        custom_explore_fn=lambda config: _within_domains(config, mutations),
        log_config=False,
        # else a trial that is ahead is held against scores from earlier rounds, and exploits them again and again
        synch=True,
    )


def _multiple_above(value: int, step: int) -> int:
    """The smallest multiple of `step` that is not below the value."""
    return -(-value // step) * step


def _within_domains(config: dict[str, Any], mutations: Mapping[str, Any]) -> dict[str, Any]:
    """Tune multiplies numbers by 0.8 or 1.2 wherever that leads; here they stay where they may be drawn."""
    values = config["trial"]["values"]
    for key, domain in mutations.items():
        if isinstance(domain, Float):
            values[key] = min(max(values[key], domain.lower), domain.upper)
        elif isinstance(domain, Integer):
            values[key] = min(max(values[key], domain.lower), domain.upper - 1)
    return config
