"""Places clients on actors: one actor for each client, or a pool for each device profile. Does not import Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.execution.packing import (
    ACCELERATOR_TYPE,
    first_shortage,
    first_unplaced,
    fits,
    ray_units,
)
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.formatting import counted

#: resident memory of a client actor that trains: Python, Ray and torch (tests/benchmarks/footprint.py)
ACTOR_BYTES = 430 * 2**20
#: an actor needs several seconds of CPU to start, so more actors for each core start slowly
QUICK_ACTORS_PER_CORE = 4


@dataclass(frozen=True, slots=True)
class Capacity:
    """Ray resources of each alive node: `CPU`, `GPU`, `memory` in bytes, and custom resources.

    `cores` is the number of trainings that may run at the same time; None: one for each CPU of the nodes.
    """

    nodes: tuple[Mapping[str, float], ...]
    cores: int | None = None

    def total(self, resource: str) -> float:
        """Sum over the nodes."""
        return sum(node.get(resource, 0.0) for node in self.nodes)

    @property
    def num_cores(self) -> int:
        """Number of trainings that may run at the same time."""
        return max(1, int(self.total("CPU"))) if self.cores is None else self.cores

    def without(self, footprint: Mapping[str, float], count: int) -> "Capacity | None":
        """What is left, with the same cores, when `count` actors reserve this footprint; None if they do not fit.

        Each actor goes to the node with the most free CPUs.
        """
        nodes = [dict(node) for node in self.nodes]
        for _ in range(count):
            possible = [node for node in nodes if fits(footprint, [node])]
            if not possible:
                return None
            chosen = max(possible, key=lambda node: node.get("CPU", 0.0))
            for resource, amount in footprint.items():
                chosen[resource] -= amount
        return Capacity(tuple(nodes), self.num_cores)


@dataclass(frozen=True, slots=True)
class Placement:
    """The actors of a run as (name, profile index), and why. A dedicated actor's name ends in its client's id."""

    mode: Literal["dedicated", "pooled"]
    reason: str
    actors: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{counted(len(self.actors), f'{self.mode} actor')} ({self.reason})"


def place_clients(
    runtime: RuntimeConfig,
    capacity: Capacity,
    population: Population,
    clients_per_round: int,
) -> Placement:
    """Choose the actors for a population.

    Raises ResourceError when a footprint fits on no node, or when the configured mode does not fit the cluster.
    """
    profiles, counts, num_clients = population.profiles, population.profile_counts(), len(population)
    for index in counts:
        _require_feasible(profiles[index], capacity)
    obstacle = _obstacle_to_dedicated(capacity, population, counts)
    if runtime.actors == "dedicated" and obstacle is not None:
        raise ResourceError("runtime.actors", "dedicated", obstacle, "use pooled or auto, or fewer clients")
    slow = num_clients > QUICK_ACTORS_PER_CORE * capacity.num_cores
    if runtime.actors == "dedicated" or (runtime.actors == "auto" and obstacle is None and not slow):
        first = min(counts)
        actors = tuple(
            (f"client-{k}", first if population.redraw else population.profile_index(k))
            for k in range(num_clients)
        )
        reason = "as configured" if runtime.actors == "dedicated" else "one per client fits this machine"
        return Placement("dedicated", reason, actors)
    if runtime.actors == "pooled":
        reason = "as configured"
    elif obstacle is not None:
        reason = obstacle
    else:
        reason = (
            f"{num_clients} clients are more than the {QUICK_ACTORS_PER_CORE} actors a core starts quickly"
        )
    is_fixed = runtime.pool_size is not None
    size = runtime.pool_size or min(capacity.num_cores, clients_per_round)
    return Placement("pooled", reason, _pool(size, capacity, profiles, counts, is_fixed=is_fixed))


def place_trial(
    runtime: RuntimeConfig,
    capacity: Capacity,
    population: Population,
    clients_per_round: int,
    *,
    share: int,
) -> Placement:
    """Choose the client actors of a sweep's trial. `capacity` excludes the trial's driver.

    The actors are pooled unless `runtime.actors` is dedicated. Their number is `runtime.pool_size`, else `share`, but
    at most the clients of a round, and at most as many as fit. Raises ResourceError when one actor for each profile,
    or the dedicated actors, do not fit.
    """
    if runtime.actors == "dedicated":
        return place_clients(runtime, capacity, population, clients_per_round)
    profiles, counts = population.profiles, population.profile_counts()
    for index in counts:
        _require_feasible(profiles[index], capacity)
    size = min(runtime.pool_size or share, clients_per_round)
    actors = _pool(size, capacity, profiles, counts, is_fixed=False)
    configured = runtime.pool_size
    reason = "a trial's share" if configured is None else f"what fits of runtime.pool_size={configured}"
    return Placement("pooled", reason, actors)


def _require_feasible(profile: DeviceProfile, capacity: Capacity) -> None:
    footprint, name = profile.footprint(), profile.name
    shortage = first_shortage(footprint, capacity.nodes)
    if shortage is None and fits(footprint, capacity.nodes):
        return
    if shortage is None:
        problem = f"no single node has all of what profile {name} needs: {footprint}"
    elif shortage[0].startswith(ACCELERATOR_TYPE):
        kind = shortage[0].removeprefix(ACCELERATOR_TYPE)
        problem = f"profile {name} needs a node with accelerator_type {kind}, there is none"
    else:
        resource, most = shortage
        compared = _compare(resource, footprint[resource], "the largest node has", most)
        problem = f"profile {name} needs {compared}"
    remedy = (
        "choose a fleet with a smaller footprint, a larger cluster, or runtime.executor=inprocess, which "
        "reserves nothing"
    )
    raise ResourceError("fleet.name", name, problem, remedy)


def _obstacle_to_dedicated(
    capacity: Capacity, population: Population, counts: Mapping[int, int]
) -> str | None:
    num_clients, profiles = len(population), population.profiles
    if population.redraw and len({frozenset(profiles[index].footprint().items()) for index in counts}) > 1:
        return (
            "devices that change from round to round reserve different footprints, and an actor keeps its own"
        )
    shortage = _shortage(capacity, profiles, counts)
    if shortage is not None:
        return f"{counted(num_clients, 'client')} {shortage}"
    if num_clients * ACTOR_BYTES > capacity.total("memory"):
        need, have = num_clients * ACTOR_BYTES / 2**30, capacity.total("memory") / 2**30
        return (
            f"{counted(num_clients, 'actor')} would need about {need:.1f} GiB of memory, there are {have:.1f}"
        )
    return None


def _shortage(capacity: Capacity, profiles: Sequence[DeviceProfile], counts: Mapping[int, int]) -> str | None:
    """Why this number of actors of each profile does not fit; None when they fit."""
    footprints = {index: profiles[index].footprint() for index in counts}
    for resource in sorted({r for footprint in footprints.values() for r in footprint}):
        wanted = sum(n * footprints[index].get(resource, 0.0) for index, n in counts.items())
        num_units = sum(n * ray_units(footprints[index].get(resource, 0.0)) for index, n in counts.items())
        if num_units > sum(ray_units(node.get(resource, 0.0)) for node in capacity.nodes):
            return f"would reserve {_compare(resource, wanted, 'there are', capacity.total(resource))}"
    unplaced = first_unplaced(profiles, counts, capacity.nodes)
    if unplaced is not None:
        return (
            f"do not fit: no node or GPU has enough free resources for {unplaced.name} "
            f"({unplaced.footprint()})"
        )
    return None


def _pool(
    size: int,
    capacity: Capacity,
    profiles: Sequence[DeviceProfile],
    counts: Mapping[int, int],
    *,
    is_fixed: bool,
) -> tuple[tuple[str, int], ...]:
    """One actor for each profile, then further actors by the highest averages (D'Hondt) of clients per actor.

    With `is_fixed`, the size must be reached. Otherwise a profile gets at most as many actors as fit, and at most one
    for each of its clients.
    """
    shares = dict.fromkeys(sorted(counts), 1)
    growing = set(shares)
    while sum(shares.values()) < size and growing:
        largest = max(growing, key=lambda index: (counts[index] / (shares[index] + 1), -index))
        grown = shares | {largest: shares[largest] + 1}
        if not is_fixed and (grown[largest] > counts[largest] or _shortage(capacity, profiles, grown)):
            growing.remove(largest)
        else:
            shares = grown
    if shortage := _shortage(capacity, profiles, shares):
        num_actors = sum(shares.values())
        remedy = "use a smaller pool or a larger cluster"
        if num_actors == len(counts):
            remedy = "every profile needs one: choose a fleet with smaller footprints or a larger cluster"
        raise ResourceError(
            "runtime.pool_size", size if is_fixed else None, f"{num_actors} pooled actors {shortage}", remedy
        )
    return tuple((f"pool-{profiles[index].name}-{i}", index) for index, n in shares.items() for i in range(n))


def _compare(resource: str, wanted: float, comparison: str, have: float) -> str:
    scale, unit = (2**30, "GiB of memory") if resource == "memory" else (1, resource)
    return f"{wanted / scale:.4g} {unit}, {comparison} {have / scale:.4g}"
