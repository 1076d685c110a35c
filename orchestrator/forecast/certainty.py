"""Decides which numbers of a forecast are exact, and says why the others are not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import Algorithm
from orchestrator.retiming.eligibility import availability_limit

#: exact: equal to the run's own number; at most: an upper bound; estimate: neither
Certainty = Literal["exact", "at most", "estimate"]

#: hooks of a method that decide who trains, how long, and what is sent
_COST_HOOKS = (
    "init_client",
    "load",
    "on_train_start",
    "step",
    "grad_hook",
    "on_batch",
    "on_epoch",
    "after_train",
    "broadcast",
    "unicast",
    "shared_mask",
    "pack",
    "plan",
    "plan_probe",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainties:
    """How certain each kind of number is; `reasons` say why a number is not exact."""

    bytes: Certainty
    flops: Certainty
    emulated_s: Certainty
    reasons: tuple[str, ...]


def certainties_of(experiment: Experiment) -> Certainties:
    """Return how certain a forecast of this experiment is, without failures of tasks.

    The numbers of a method that sends the dense model in both directions and trains it as FedAvg does are exact. If
    devices may be absent or drop out, fewer bytes may be sent, and other clients may train.
    """
    if reasons := tuple(_unknown_costs(experiment)):
        return Certainties(bytes="estimate", flops="estimate", emulated_s="estimate", reasons=reasons)
    if reasons := tuple(_changing_cohorts(experiment)):
        return Certainties(bytes="at most", flops="estimate", emulated_s="estimate", reasons=reasons)
    return Certainties(bytes="exact", flops="exact", emulated_s="exact", reasons=())


def _unknown_costs(experiment: Experiment) -> Iterator[str]:
    config, method = experiment.config, type(experiment.algorithm)
    name = config.algorithm.name
    if method.capabilities.default_density is not None:
        yield f"{name}: sizes of masks and FLOPs under masks are those of the first task"
    if changed := [hook for hook in _COST_HOOKS if getattr(method, hook) is not getattr(Algorithm, hook)]:
        yield f"{name} has its own {', '.join(changed)}; the first task stands for all tasks"
    if config.asynchrony.kind != "none":
        yield f"asynchrony.kind={config.asynchrony.kind}: the number of tasks depends on their order of arrival"
    if config.selection.kind in ("power_of_choice", "available") or config.selection.learns:
        yield f"selection.kind={config.selection.kind}: the cohorts depend on the run"


def _changing_cohorts(experiment: Experiment) -> Iterator[str]:
    config = experiment.config
    if (limit := availability_limit(experiment.fleet)) is not None:
        yield limit
    if config.fleet.late == "keep":
        yield "fleet.late=keep: updates that are late at the end of the run are not counted"
    if limited := [p.name for p in experiment.setting.profiles if p.memory_bytes is not None]:
        yield f"devices {', '.join(limited)} have limited memory, and tasks that do not fit fail"
