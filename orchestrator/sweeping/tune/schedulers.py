"""Creates Tune's schedulers, which stop trials early or let them continue from another trial's model."""

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

#: ASHA continues one of this many trials at each rung
REDUCTION_FACTOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundBudget:
    """Numbers of rounds that a scheduler needs.

    - `rounds`: the largest number of rounds of any trial.
    - `eval_every`: rounds between evaluations that all trials share.
    - `num_done`: the largest number of rounds that any trial has committed already.
    """

    rounds: int
    eval_every: int
    num_done: int


@final
class SynchronizedPBT(PopulationBasedTraining):
    """Tune's synchronous population-based training, corrected for trials that end early.

    Tune perturbs when the last running trial reports. If this trial fails or ends instead, Tune leaves all other trials
    paused forever. This class lets the other trials continue without the perturbation.
    """

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the next trial to run, or None; see `TrialScheduler`."""
        trial_to_run = super().choose_trial_to_run(tune_controller)
        # Tune's live trials may include trials that have just failed
        live = [trial for trial in tune_controller.get_live_trials() if not trial.is_finished()]
        if trial_to_run is None and live and all(trial.status == Trial.PAUSED for trial in live):
            reached = max(self._trial_state[trial].last_train_time for trial in live)
            self._next_perturbation_sync = int(reached + self._perturbation_interval)
            trial_to_run = super().choose_trial_to_run(tune_controller)
        return trial_to_run


def make_scheduler(
    request: SweepRequest, objective: Objective, budget: RoundBudget, mutations: Mapping[str, Any]
) -> TrialScheduler:
    """Create the scheduler of a request."""
    if request.scheduler == "fifo":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    metric = objective.metrics[0]
    common: dict[str, Any] = {"time_attr": "round", "metric": metric.name, "mode": metric.mode}
    quarter = max(1, budget.rounds // 4)
    # the trials of a resumed sweep may all be shorter than the option
    grace = min(request.grace_rounds or quarter, budget.rounds)
    if request.scheduler == "asha":
        return ASHAScheduler(
            **common, max_t=budget.rounds, grace_period=grace, reduction_factor=REDUCTION_FACTOR
        )
    if request.scheduler == "median":
        return MedianStoppingRule(**common, grace_period=grace, min_samples_required=2)
    # all trials must report at the same rounds, also after a resume at different rounds
    interval = _round_up_to_multiple(request.perturb_rounds or quarter, budget.eval_every)
    return SynchronizedPBT(
        **common,
        perturbation_interval=interval,
        burn_in_period=_round_up_to_multiple(budget.num_done + 1, interval) if budget.num_done else 0,
        hyperparam_mutations={"trial": {"values": dict(mutations)}},
        custom_explore_fn=lambda config: _clip_to_domains(config, mutations),
        log_config=False,
        # without synch, a trial that is ahead would be compared with scores of earlier rounds
        synch=True,
    )


def _round_up_to_multiple(value: int, step: int) -> int:
    """Return the smallest multiple of `step` that is at least `value`."""
    return -(-value // step) * step


def _clip_to_domains(config: dict[str, Any], mutations: Mapping[str, Any]) -> dict[str, Any]:
    """Clip perturbed numbers to their domains, because Tune multiplies them by 0.8 or 1.2 without a bound."""
    values = config["trial"]["values"]
    for key, domain in mutations.items():
        if isinstance(domain, Float):
            values[key] = min(max(values[key], domain.lower), domain.upper)
        elif isinstance(domain, Integer):
            values[key] = min(max(values[key], domain.lower), domain.upper - 1)
    return config
