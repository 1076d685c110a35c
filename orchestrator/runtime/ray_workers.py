"""Starts the actors that a run's driver uses: client actors and aggregators.

The command starts them, not the driver, so that all processes of a run import their libraries at the same time.
"""

from dataclasses import dataclass
from typing import Any

from orchestrator.aggregation.ray_aggregators import start_aggregators
from orchestrator.aggregation.shard_placement import AggregatorPlacement, place_run
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import start_actors
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.experiment.experiment import Experiment


@dataclass(frozen=True, slots=True, eq=False)
class Workers:
    """Handles of a run's actors, and how they were placed. `num_cores` is the cluster's number of cores."""

    placement: Placement
    aggregation: AggregatorPlacement
    clients: list[Any]
    aggregators: list[Any]
    num_cores: int

    @property
    def actors(self) -> list[Any]:
        """All actors."""
        return [*self.aggregators, *self.clients]


def start_workers(experiment: Experiment, run_id: str) -> Workers:
    """Start a run's actors on what the cluster has now, without waiting for them. Their names start with `run_id`.

    Raises ResourceError if they do not fit.
    """
    capacity = cluster_capacity()
    placement, aggregation = place_run(experiment, capacity)
    return Workers(
        placement,
        aggregation,
        aggregators=start_aggregators(experiment, aggregation.count, run_id),
        clients=start_actors(experiment.setting.profiles, placement, run_id),
        num_cores=capacity.num_cores,
    )
