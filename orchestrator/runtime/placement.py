"""Where clients live: one actor each, or a pool of actors per device profile. Pure arithmetic; no Ray."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.config import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.fleet.profiles import DeviceProfile

#: resident memory of a client actor once it trains: Python, Ray and torch (tests/benchmarks/footprint.py)
ACTOR_BYTES = 430 * 2**20
#: an actor costs several seconds of CPU to start, so that more than this many a core are slow to come up
QUICK_ACTORS_PER_CORE = 4
#: sums of fractions of a core may be off by this much
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Capacity:
    """Ray resources of each alive node (`CPU`, `GPU`, `memory` in bytes, custom ones)."""

    nodes: tuple[Mapping[str, float], ...]

    def total(self, resource: str) -> float:
        """Sum over the nodes."""
        return sum(node.get(resource, 0.0) for node in self.nodes)

    @property
    def num_cores(self) -> int:
        """Trainings that may run at once."""
        return max(1, int(self.total("CPU")))


@dataclass(frozen=True, slots=True)
class Placement:
    """`actors` are (name, profile index); a dedicated actor's name ends in its client's id."""

    mode: Literal["dedicated", "pooled"]
    reason: str
    actors: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{len(self.actors)} {self.mode} actors ({self.reason})"


def place(
    runtime: RuntimeConfig,
    capacity: Capacity,
    profiles: Sequence[DeviceProfile],
    assignment: Sequence[int],
    clients_per_round: int,
) -> Placement:
    """Choose the actors for a population (`assignment`: each client's profile index).

    Raises ResourceError when a footprint fits on no node, or the demanded mode does not fit the cluster.
    """
    counts = Counter(int(index) for index in assignment)
    for index in counts:
        _require_feasible(profiles[index], capacity)
    obstacle = _obstacle_to_dedicated(capacity, profiles, counts)
    if runtime.actors == "dedicated" and obstacle is not None:
        raise ResourceError("runtime.actors", "dedicated", obstacle, "use pooled or auto, or fewer clients")
    slow = len(assignment) > QUICK_ACTORS_PER_CORE * capacity.num_cores
    if runtime.actors == "dedicated" or (runtime.actors == "auto" and obstacle is None and not slow):
        named = tuple((f"client-{k}", int(index)) for k, index in enumerate(assignment))
        reason = "as configured" if runtime.actors == "dedicated" else "one per client fits this machine"
        return Placement("dedicated", reason, named)
    if runtime.actors == "pooled":
        reason = "as configured"
    elif obstacle is not None:
        reason = obstacle
    else:
        reason = f"{len(assignment)} clients are more than the {QUICK_ACTORS_PER_CORE} actors a core starts quickly"
    return Placement("pooled", reason, _pool(runtime, capacity, profiles, counts, clients_per_round))


def _require_feasible(profile: DeviceProfile, capacity: Capacity) -> None:
    footprint = profile.footprint()
    if any(all(node.get(r, 0.0) >= amount for r, amount in footprint.items()) for node in capacity.nodes):
        return
    for resource, amount in footprint.items():
        most = max((node.get(resource, 0.0) for node in capacity.nodes), default=0.0)
        if most < amount:
            compared = _compare(resource, amount, "the largest node has", most)
            problem = f"profile {profile.name} needs {compared}"
            break
    else:
        problem = f"no single node has all of what profile {profile.name} needs: {footprint}"
    raise ResourceError(
        "fleet.name", profile.name, problem, "choose a fleet with a smaller footprint or a larger cluster"
    )


def _obstacle_to_dedicated(
    capacity: Capacity, profiles: Sequence[DeviceProfile], counts: Mapping[int, int]
) -> str | None:
    num_clients = sum(counts.values())
    lack = _lack(capacity, profiles, counts)
    if lack is not None:
        return f"{num_clients} clients {lack}"
    if num_clients * ACTOR_BYTES > capacity.total("memory"):
        need, have = num_clients * ACTOR_BYTES / 2**30, capacity.total("memory") / 2**30
        return f"{num_clients} actors need about {need:.1f} GiB of memory, there are {have:.1f}"
    return None


def _lack(capacity: Capacity, profiles: Sequence[DeviceProfile], counts: Mapping[int, int]) -> str | None:
    """What keeps that many actors of each profile from being placed; None when they fit.

    After the sums, the largest footprints are put first on the first node that has room.
    """
    footprints = {index: profiles[index].footprint() for index in counts}
    for resource in sorted({r for footprint in footprints.values() for r in footprint}):
        wanted = sum(n * footprints[index].get(resource, 0.0) for index, n in counts.items())
        if wanted > capacity.total(resource) + _ROUNDING:
            return f"reserve {_compare(resource, wanted, 'there are', capacity.total(resource))}"
    free = [dict(node) for node in capacity.nodes]
    for index in sorted(counts, key=lambda i: sorted(footprints[i].values(), reverse=True), reverse=True):
        footprint = footprints[index]
        for _ in range(counts[index] if footprint else 0):
            node = next((n for n in free if _has_room(n, footprint)), None)
            if node is None:
                return f"do not fit node by node: none has room left for {profiles[index].name} ({footprint})"
            for resource, amount in footprint.items():
                node[resource] -= amount
    return None


def _has_room(node: Mapping[str, float], footprint: Mapping[str, float]) -> bool:
    return all(node.get(resource, 0.0) >= amount - _ROUNDING for resource, amount in footprint.items())


def _pool(
    runtime: RuntimeConfig,
    capacity: Capacity,
    profiles: Sequence[DeviceProfile],
    counts: Mapping[int, int],
    clients_per_round: int,
) -> tuple[tuple[str, int], ...]:
    """Actors in proportion to each profile's clients, at least one each, within what the footprints allow."""
    size = runtime.pool_size or min(capacity.num_cores, clients_per_round)
    shares = _apportion(size, counts)
    if runtime.pool_size is None:
        while _lack(capacity, profiles, shares) and size > len(counts):
            size -= 1
            shares = _apportion(size, counts)
    if lack := _lack(capacity, profiles, shares):
        problem = f"{size} pooled actors {lack}"
        raise ResourceError("runtime.pool_size", size, problem, "use a smaller pool or a larger cluster")
    return tuple((f"pool-{profiles[index].name}-{i}", index) for index, n in shares.items() for i in range(n))


def _compare(resource: str, wanted: float, words: str, have: float) -> str:
    scale, unit = (2**30, "GiB of memory") if resource == "memory" else (1, resource)
    return f"{wanted / scale:.4g} {unit}, {words} {have / scale:.4g}"


def _apportion(size: int, counts: Mapping[int, int]) -> dict[int, int]:
    """`size` seats by the highest averages (D'Hondt), after one for each profile."""
    shares = dict.fromkeys(sorted(counts), 1)
    for _ in range(size - len(shares)):
        best = max(shares, key=lambda index: (counts[index] / (shares[index] + 1), -index))
        shares[best] += 1
    return shares
