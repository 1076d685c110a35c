"""What fits on the nodes of a cluster, counted as Ray counts: in ten-thousandths, and GPU by GPU."""

from collections.abc import Mapping, Sequence

from orchestrator.fleet.profiles import DeviceProfile

#: Ray's smallest amount is 1 / 10,000 of a resource; it drops what is below
GRAINS = 10_000
GPU = "GPU"
ACCELERATOR_TYPE = "accelerator_type:"

Resources = Mapping[str, float]


def grains(amount: float) -> int:
    """An amount of a resource in Ray's smallest units."""
    return int(amount * GRAINS)


def hardest_first(profile: DeviceProfile) -> tuple[float, ...]:
    """Sort key, ascending, of the order in which actors are placed: large shares of GPUs go before small ones."""
    footprint = profile.footprint()
    scarce = sum(footprint.get(resource, 0.0) for resource in profile.resources)
    return -profile.num_gpus, -scarce, -profile.num_cpus, -float(profile.ray_memory_bytes)


def first_lack(footprint: Resources, nodes: Sequence[Resources]) -> tuple[str, float] | None:
    """A resource of which every node has too little, with the most that one has; None where there is no such."""
    for resource, amount in footprint.items():
        most = max((node.get(resource, 0.0) for node in nodes), default=0.0)
        if grains(most) < grains(amount):
            return resource, most
    return None


def fits(footprint: Resources, nodes: Sequence[Resources]) -> bool:
    """Whether one of the nodes, all else away, holds the footprint."""
    return any(_Node(node).take(_in_grains(footprint)) for node in nodes)


def without_room(
    profiles: Sequence[DeviceProfile], counts: Mapping[int, int], nodes: Sequence[Resources]
) -> DeviceProfile | None:
    """The profile of the first actor that finds no node; None when as many of each profile as `counts` says do.

    Each actor goes on the first node with room, the hardest to place first.
    """
    room = [_Node(node) for node in nodes]
    for index in sorted(counts, key=lambda i: (hardest_first(profiles[i]), i)):
        footprint = _in_grains(profiles[index].footprint())
        for _ in range(counts[index] if footprint else 0):
            if not any(node.take(footprint) for node in room):
                return profiles[index]
    return None


class _Node:
    """What is left on one node. A GPU is one device: a share lies on one of them, the fullest that has room."""

    def __init__(self, resources: Resources) -> None:
        self._free = {name: grains(amount) for name, amount in resources.items()}
        self._gpus = [GRAINS] * int(resources.get(GPU, 0.0))

    def take(self, footprint: Mapping[str, int]) -> bool:
        """Take a footprint, in grains, if there is room for it."""
        if any(self._free.get(resource, 0) < amount for resource, amount in footprint.items()):
            return False
        wanted = footprint.get(GPU, 0)
        devices = self._devices(wanted)
        if devices is None:
            return False
        for device in devices:
            self._gpus[device] -= min(wanted, GRAINS)
        for resource, amount in footprint.items():
            self._free[resource] -= amount
        return True

    def _devices(self, wanted: int) -> list[int] | None:
        """The GPUs that a footprint gets: one for a share, wholly free ones for whole GPUs; None: too few."""
        if wanted == 0:
            return []
        roomy = [n for n, free in enumerate(self._gpus) if free >= min(wanted, GRAINS)]
        num_devices = max(1, wanted // GRAINS)
        if len(roomy) < num_devices:
            return None
        return sorted(roomy, key=lambda n: (self._gpus[n], n))[:num_devices]


def _in_grains(footprint: Resources) -> dict[str, int]:
    return {resource: grains(amount) for resource, amount in footprint.items()}
