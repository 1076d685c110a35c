"""Checks whether a method supports the rounds, the rule and the attack of its experiment. Every check raises ConfigError."""

from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.algorithm import Algorithm, AnyAlgorithm
from orchestrator.federation.plan import RoundPlan


def require_support(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject options of rounds, aggregation and attack that the method does not support."""
    _require_plain_rounds(config, algorithm)
    _require_average(config, algorithm)
    _require_attackable(config, algorithm)


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
    rule = config.aggregation.rule
    if rule == "mean":
        return
    problem = _without_updates(config, algorithm)
    if problem is None and type(algorithm.aggregator()) not in AGGREGATORS.values():
        problem = f"{config.algorithm.name} has an aggregator of its own"
    if problem is not None:
        raise ConfigError("aggregation.rule", rule, problem, "use mean, or another method")


def _require_attackable(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject an attack that alters updates for a method whose server receives none."""
    kind = config.attack.kind
    if kind in ("none", "label_flip"):
        return
    if (problem := _without_updates(config, algorithm)) is not None:
        raise ConfigError("attack.kind", kind, problem, "use label_flip, or another method")


def _without_updates(config: ExperimentConfig, algorithm: AnyAlgorithm) -> str | None:
    """Why the server averages no updates of the method; None if it does."""
    name = config.algorithm.name
    if type(algorithm).neighbours is not Algorithm.neighbours:
        return f"the clients of {name} average the models of their neighbours themselves"
    (task,) = RoundPlan.of(0, (0,)).tasks
    return None if algorithm.upload_items(task) else f"the clients of {name} send no update"
