"""Which trials are stopped early, or go on with another's model: Tune's schedulers, on rounds."""

from collections.abc import Mapping
from typing import Any

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


def make_scheduler(
    request: SweepRequest, objective: Objective, rounds: int, mutations: Mapping[str, Any]
) -> TrialScheduler:
    """The request's scheduler; `rounds` are the most that a trial has."""
    if request.scheduler == "fifo":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    goal = objective.goals[0]
    common: dict[str, Any] = {"time_attr": "round", "metric": goal.name, "mode": goal.mode}
    quarter = max(1, rounds // 4)
    grace = request.grace_rounds or quarter
    if request.scheduler == "asha":
        return ASHAScheduler(**common, max_t=rounds, grace_period=grace, reduction_factor=REDUCTION_FACTOR)
    if request.scheduler == "median":
        return MedianStoppingRule(**common, grace_period=grace, min_samples_required=2)
    return PopulationBasedTraining(
        **common,
        perturbation_interval=request.perturb_rounds or quarter,
        hyperparam_mutations={"trial": {"values": dict(mutations)}},
        custom_explore_fn=lambda config: _within_domains(config, mutations),
        log_config=False,
        # else a trial that is ahead is held against scores from earlier rounds, and exploits them again and again
        synch=True,
    )


def _within_domains(config: dict[str, Any], mutations: Mapping[str, Any]) -> dict[str, Any]:
    """Tune multiplies numbers by 0.8 or 1.2 wherever that leads; here they stay where they may be drawn."""
    values = config["trial"]["values"]
    for key, domain in mutations.items():
        if isinstance(domain, Float):
            values[key] = min(max(values[key], domain.lower), domain.upper)
        elif isinstance(domain, Integer):
            values[key] = min(max(values[key], domain.lower), domain.upper - 1)
    return config
