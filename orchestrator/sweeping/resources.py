"""What a trial reserves: a bundle for its driver, and one for each of its client actors. Pure arithmetic; no Ray."""

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
from orchestrator.federation.device_assignment import draw_population
from orchestrator.fleet.registry import get_fleet

#: what a driver reserves; while its clients train it folds and waits
DRIVER_CPUS = 0.1
#: what a trial whose clients train in its own process reserves
IN_PROCESS_CPUS = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """How many trials run at a time, and how many pooled actors each of them gets."""

    concurrent: int
    actors: int


def share_out(capacity: Capacity, num_trials: int, asked: int | None) -> Share:
    """Trials first, since they wait for nobody: one a core while memory lasts; cores that are left make pools larger.

    `asked` trials at a time, if given.
    """
    cores = capacity.num_cores
    fit = int(capacity.total("memory") // (2 * ACTOR_BYTES))
    concurrent = asked or max(1, min(cores, fit, num_trials))
    return Share(concurrent, max(1, cores // concurrent))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResources:
    """A trial's bundles, the driver's first, and the client actors that go into the others (name, profile index)."""

    bundles: tuple[Mapping[str, float], ...]
    placement: Placement | None


def trial_footprint(config: ExperimentConfig, capacity: Capacity, share: Share, home: str) -> TrialResources:
    """What the trial of a config reserves; its driver stays on the node with the resource `home`.

    The driver writes to the run's folder, which is on that node. Raises ResourceError when the clients' actors do not
    fit beside it, or when the node has no room for the driver.
    """
    in_process = config.runtime.executor == "inprocess"
    driver = {"CPU": IN_PROCESS_CPUS if in_process else DRIVER_CPUS, home: 0.001}
    if not fits(driver, capacity.nodes):
        problem = (
            f"a trial's driver needs {driver['CPU']:g} CPU of the node where the command runs, which has less"
        )
        raise ResourceError(
            "runtime.executor", config.runtime.executor, problem, "run it on a node with more"
        )
    if in_process:
        return TrialResources(bundles=(driver,), placement=None)
    beside = Capacity(
        tuple(
            {**node, "CPU": node.get("CPU", 0.0) - DRIVER_CPUS} if home in node else node
            for node in capacity.nodes
        )
    )
    fleet = get_fleet(config.fleet.name)
    population = draw_population(fleet, config.fleet.num_clients, config.seed, redraw=config.fleet.redraw)
    placement = place_trial(
        config.runtime, beside, population, config.training.clients_per_round, share=share.actors
    )
    profiles = [population.profiles[index] for _, index in placement.actors]
    clients = [profile.footprint() for profile in sorted(profiles, key=hardest_first)]
    return TrialResources(bundles=(driver, *clients), placement=placement)
