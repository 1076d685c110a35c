"""Device profiles, and fleets of them."""

from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """One kind of device: what its actor reserves on Ray, and how fast the emulated device is.

    The footprint (`num_cpus`, `num_gpus`, `ray_memory_bytes`) is reserved on Ray; 0 reserves nothing.
    The speeds drive only the virtual clock. `capability` is the share of a full model, in (0, 1], that the
    device can hold and train.
    """

    name: str
    num_cpus: float = 0.1
    num_gpus: float = 0.0
    ray_memory_bytes: int = 0
    flops_per_s: float
    uplink_bytes_per_s: float
    downlink_bytes_per_s: float
    capability: float = 1.0

    @property
    def num_threads(self) -> int:
        """Torch threads of a client on this device: one for each whole core it reserves, at least one."""
        return max(1, int(self.num_cpus))

    def footprint(self) -> dict[str, float]:
        """Ray resources that one actor of this profile reserves."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": float(self.ray_memory_bytes)}
        return {name: amount for name, amount in wanted.items() if amount > 0}


@dataclass(frozen=True, slots=True)
class Fleet:
    """Profiles and their shares of the population (shares are relative weights)."""

    name: str
    summary: str
    profiles: tuple[DeviceProfile, ...]
    shares: tuple[float, ...] = field(default=(1.0,))

    def assign(self, num_clients: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """int64[K]: each client's profile index; counts follow the shares to within one, order is random."""
        edges = np.cumsum(self.shares) / np.sum(self.shares)
        indices = np.searchsorted(edges, (np.arange(num_clients) + 0.5) / num_clients)
        return rng.permutation(indices.astype(np.int64))


_MIB = 2**20

#: FedLPS's capability levels; speeds and bandwidths of its public code (arXiv 2412.07216), MiB/s as coded there.
_TIERS = tuple(
    DeviceProfile(
        name=f"tier-1-{divisor}",
        flops_per_s=744_448e6 / divisor,
        uplink_bytes_per_s=14.0 * _MIB,
        downlink_bytes_per_s=110.6 * _MIB,
        capability=1 / divisor,
    )
    for divisor in (1, 2, 4, 8, 16)
)

FLEETS: dict[str, Fleet] = {
    "uniform": Fleet(
        "uniform",
        "one kind of device: 10 GFLOP/s, 1 MB/s up, 5 MB/s down, 0.1 CPU reserved",
        (DeviceProfile(name="default", flops_per_s=10e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=5e6),),
    ),
    "five-tier": Fleet(
        "five-tier",
        "equal shares of five speeds and capabilities, 1 to 1/16 of 744 GFLOP/s and of a model; 14 MiB/s up, "
        "110.6 MiB/s down (FedLPS)",
        _TIERS,
        (1.0,) * len(_TIERS),
    ),
}


def get_fleet(name: str) -> Fleet:
    """The built-in fleet of that name; ConfigError with a near match otherwise."""
    if name not in FLEETS:
        near = get_close_matches(name, FLEETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(FLEETS)}"
        raise ConfigError("fleet.name", name, "there is no such fleet", hint)
    return FLEETS[name]
