"""Checks whether a method supports the rounds and the rule of its experiment. Every check raises ConfigError."""

from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.algorithm import Algorithm, AnyAlgorithm
from orchestrator.federation.plan import RoundPlan


def require_support(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject options of rounds and of aggregation that the method does not support."""
    _require_plain_rounds(config, algorithm)
    _require_average(config, algorithm)


def _require_plain_rounds(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject late and surplus tasks for methods whose rounds have probes, or another cohort than the sampled one."""
    probes = ("plan_probe", "probes clients before training")
    plans = ("plan", "chooses itself which clients train")
    peers = ("neighbours", "sends the models of a client's neighbours as they are when its task starts")
    asynchronous, fleet = config.asynchrony.kind != "none", config.fleet
    if algorithm.capabilities.round_bound:
        problem = f"{config.algorithm.name} sends updates that belong to the mask of their round"
        if asynchronous:
            raise ConfigError("asynchrony.kind", config.asynchrony.kind, problem, "use none")
        if fleet.late == "keep":
            raise ConfigError("fleet.late", "keep", problem, "use drop")
    for is_set, key, value, remedy, hooks in (
        (asynchronous, "asynchrony.kind", config.asynchrony.kind, "use none", (probes, plans, peers)),
        (fleet.late == "keep", "fleet.late", "keep", "use drop", (probes, plans, peers)),
        (fleet.over_selection > 1.0, "fleet.over_selection", fleet.over_selection, "use 1", (plans,)),
    ):
        for hook, action in hooks:
            if is_set and getattr(type(algorithm), hook) is not getattr(Algorithm, hook):
                raise ConfigError(key, value, f"{config.algorithm.name} {action}", remedy)


def _require_average(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject a robust rule for a method whose updates no average of the server combines."""
    rule, name = config.aggregation.rule, config.algorithm.name
    if rule == "mean":
        return
    (task,) = RoundPlan.of(0, (0,)).tasks
    problem = None
    if type(algorithm).neighbours is not Algorithm.neighbours:
        problem = f"the clients of {name} average the models of their neighbours themselves"
    elif not algorithm.upload_items(task):
        problem = f"the clients of {name} send no update"
    elif type(algorithm.aggregator()) not in AGGREGATORS.values():
        problem = f"{name} has an aggregator of its own"
    if problem is not None:
        raise ConfigError("aggregation.rule", rule, problem, "use mean, or another method")
