"""The aggregator of a phase: the method's own, or a robust rule that replaces the method's average.

A rule combines the updates of training. Answers to probes are averaged as the method does: a probe may ask one client.
"""

from orchestrator.aggregation.refl_sums import ReflSums
from orchestrator.aggregation.sums import LocalSums
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import AGGREGATORS, AggregationName, Aggregator
from orchestrator.federation.plan import TaskKind
from orchestrator.federation.robust.aggregator import RobustAggregator


def phase_aggregator(experiment: Experiment, kind: TaskKind = "train") -> Aggregator | RobustAggregator:
    """Return an empty aggregator. `prepare` rejects a robust rule for a method with an aggregator of its own."""
    config = experiment.config.aggregation
    if config.rule == "mean" or kind != "train":
        return experiment.algorithm.aggregator()
    return RobustAggregator(config, average_of(experiment), experiment.aggregation_rule)


def phase_sums(experiment: Experiment, kind: TaskKind = "train") -> LocalSums | ReflSums:
    """Return empty sums of this process for a phase."""
    asynchrony = experiment.config.asynchrony
    own = ReflSums if asynchrony.staleness == "refl" else LocalSums
    return own(phase_aggregator(experiment, kind), asynchrony)


def average_of(experiment: Experiment) -> AggregationName:
    """Return the average of the method under its options. The method has no aggregator of its own."""
    own = type(experiment.algorithm.aggregator())
    return next(name for name, kind in AGGREGATORS.items() if kind is own)
