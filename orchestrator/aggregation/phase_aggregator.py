"""The aggregator of a phase: the method's own, or a robust rule in the place of the method's average."""

from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import AGGREGATORS, Aggregator
from orchestrator.federation.robust.aggregator import RobustAggregator


def phase_aggregator(experiment: Experiment) -> Aggregator | RobustAggregator:
    """Return an empty aggregator. `prepare` rejects a robust rule for a method with an aggregator of its own."""
    own, config = experiment.algorithm.aggregator(), experiment.config.aggregation
    if config.rule == "mean":
        return own
    average = next(name for name, kind in AGGREGATORS.items() if type(own) is kind)
    return RobustAggregator(config, average)
