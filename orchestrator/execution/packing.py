"""Computes which actors fit on the nodes of a cluster, as Ray does: in 1/10,000 of a resource, GPU by GPU."""

from collections.abc import Mapping, Sequence

from orchestrator.fleet.profiles import DeviceProfile

#: Ray's smallest amount is 1/10,000 of a resource; Ray rounds amounts down
UNITS_PER_RESOURCE = 10_000
GPU = "GPU"
ACCELERATOR_TYPE = "accelerator_type:"

Resources = Mapping[str, float]


def ray_units(amount: float) -> int:
    """An amount of a resource in Ray's smallest units."""
    return int(amount * UNITS_PER_RESOURCE)


def hardest_first(profile: DeviceProfile) -> tuple[float, ...]:
    """Ascending sort key for the order of placement: actors with large GPU shares come before small shares."""
    footprint = profile.footprint()
    scarce = sum(footprint.get(resource, 0.0) for resource in profile.resources)
    return -profile.num_gpus, -scarce, -profile.num_cpus, -float(profile.ray_memory_bytes)


def first_shortage(footprint: Resources, nodes: Sequence[Resources]) -> tuple[str, float] | None:
    """The first resource of which every node has too little, and the largest amount on a node; None for no resource."""
    for resource, amount in footprint.items():
        most = max((node.get(resource, 0.0) for node in nodes), default=0.0)
        if ray_units(most) < ray_units(amount):
            return resource, most
    return None


def fits(footprint: Resources, nodes: Sequence[Resources]) -> bool:
    """Whether the footprint fits on one of the nodes when nothing else runs there."""
    return any(_Node(node).take(_in_ray_units(footprint)) for node in nodes)


def first_unplaced(
    profiles: Sequence[DeviceProfile], counts: Mapping[int, int], nodes: Sequence[Resources]
) -> DeviceProfile | None:
    """The profile of the first actor that fits on no node; None when the actors of all `counts` fit.

    Each actor goes to the first node on which it fits. The actors that are hardest to place come first.
    """
    free_nodes = [_Node(node) for node in nodes]
    for index in sorted(counts, key=lambda i: (hardest_first(profiles[i]), i)):
        footprint = _in_ray_units(profiles[index].footprint())
        for _ in range(counts[index] if footprint else 0):
            if not any(node.take(footprint) for node in free_nodes):
                return profiles[index]
    return None


class _Node:
    """The free resources of one node. A share of a GPU is taken from one device: the fullest on which it fits."""

    def __init__(self, resources: Resources) -> None:
        self._free = {name: ray_units(amount) for name, amount in resources.items()}
        self._gpus = [UNITS_PER_RESOURCE] * int(resources.get(GPU, 0.0))

    def take(self, footprint: Mapping[str, int]) -> bool:
        """Take a footprint, in Ray's units, if it fits; whether it did."""
        if any(self._free.get(resource, 0) < amount for resource, amount in footprint.items()):
            return False
        wanted = footprint.get(GPU, 0)
        devices = self._devices(wanted)
        if devices is None:
            return False
        for device in devices:
            self._gpus[device] -= min(wanted, UNITS_PER_RESOURCE)
        for resource, amount in footprint.items():
            self._free[resource] -= amount
        return True

    def _devices(self, wanted: int) -> list[int] | None:
        """The GPUs for a footprint: one for a share, completely free ones for whole GPUs; None for too few GPUs."""
        if wanted == 0:
            return []
        candidates = [n for n, free in enumerate(self._gpus) if free >= min(wanted, UNITS_PER_RESOURCE)]
        num_devices = max(1, wanted // UNITS_PER_RESOURCE)
        if len(candidates) < num_devices:
            return None
        return sorted(candidates, key=lambda n: (self._gpus[n], n))[:num_devices]


def _in_ray_units(footprint: Resources) -> dict[str, int]:
    return {resource: ray_units(amount) for resource, amount in footprint.items()}
