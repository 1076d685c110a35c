"""Computes the resource bundles of a trial: one for its driver and one for each client actor. Does not use Ray."""

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import ResourceError
from orchestrator.execution.packing import fits, hardest_first
from orchestrator.execution.placement import (
    ACTOR_BYTES,
    Capacity,
    Placement,
    place_trial,
)
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.device_assignment import sample_population
from orchestrator.fleet.registry import get_fleet

#: CPUs that a driver reserves; it aggregates updates and mostly waits for its clients
DRIVER_CPUS = 0.1
#: CPUs that a trial reserves when its clients train in its own process
IN_PROCESS_CPUS = 1.0


@dataclass(frozen=True, slots=True)
class ClusterDivision:
    """Number of trials that run at the same time, and number of pooled actors for each of these trials."""

    concurrent: int
    actors: int


def divide_cluster(capacity: Capacity, num_trials: int, max_concurrent: int | None) -> ClusterDivision:
    """Divide the cores of the cluster among the trials.

    One trial runs per core, as long as memory suffices, because trials do not wait for one another. Cores that are
    left enlarge the pools. `max_concurrent`, if given, is the number of trials that run at the same time.
    """
    cores = capacity.num_cores
    fit = int(capacity.total("memory") // (2 * ACTOR_BYTES))
    concurrent = max_concurrent or max(1, min(cores, fit, num_trials))
    return ClusterDivision(concurrent, max(1, cores // concurrent))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResources:
    """The resource bundles of a trial; the first is the driver's. `placement` lists the client actors of the others."""

    bundles: tuple[Mapping[str, float], ...]
    placement: Placement | None


def trial_footprint(
    config: ExperimentConfig, capacity: Capacity, division: ClusterDivision, node_resource: str
) -> TrialResources:
    """Compute the resources that a trial of this config reserves.

    The driver runs on the node that has the resource `node_resource`, because the run's folder is on that node.
    Raises ResourceError when that node has too few CPUs for the driver, and when the client actors do not fit into
    the rest of the cluster.
    """
    in_process = config.runtime.executor == "inprocess"
    driver = {"CPU": IN_PROCESS_CPUS if in_process else DRIVER_CPUS, node_resource: 0.001}
    if not fits(driver, capacity.nodes):
        problem = (
            f"the driver of a trial needs {driver['CPU']:g} CPU, and the node that runs the command has less"
        )
        remedy = "run the command on a node with more CPUs"
        raise ResourceError("runtime.executor", config.runtime.executor, problem, remedy)
    if in_process:
        return TrialResources(bundles=(driver,), placement=None)
    without_driver = Capacity(
        tuple(
            {**node, "CPU": node.get("CPU", 0.0) - DRIVER_CPUS} if node_resource in node else node
            for node in capacity.nodes
        )
    )
    fleet = get_fleet(config.fleet.name)
    population = sample_population(
        fleet, config.fleet.num_with_unseen, config.seed, redraw=config.fleet.redraw
    )
    placement = place_trial(
        config.runtime, without_driver, population, config.training.clients_per_round, share=division.actors
    )
    profiles = [population.profiles[index] for _, index in placement.actors]
    clients = [profile.footprint() for profile in sorted(profiles, key=hardest_first)]
    return TrialResources(bundles=(driver, *clients), placement=placement)
