"""Fleets: profiles with their shares of the population, built in or from a file."""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.fleet import phones_and_edge
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile


@dataclass(frozen=True, slots=True)
class Fleet:
    """Profiles and their shares of the population (relative weights), or the `devices` of a trace."""

    name: str
    summary: str
    profiles: tuple[DeviceProfile, ...]
    shares: tuple[float, ...] = field(default=(1.0,))
    devices: Devices | None = None

    def populate(self, num_clients: int, rng: np.random.Generator, *, redraw: bool = False) -> Population:
        """Give every client a device.

        Counts follow the shares to within one, in random order. Devices of a trace are dealt in random order too, and
        again from the start where clients outnumber them. Raises ConfigError where these cannot be redrawn.
        """
        if self.devices is not None and redraw:
            problem = f"fleet {self.name} says which device each client has"
            raise ConfigError("fleet.redraw", True, problem, "leave it false")
        if self.devices is not None:
            order = rng.permutation(len(self.devices)).astype(np.int32)
            assignment = order[np.arange(num_clients) % len(order)]
        else:
            edges = np.cumsum(self.shares)
            indices = np.searchsorted(edges / edges[-1], (np.arange(num_clients) + 0.5) / num_clients)
            assignment = rng.permutation(indices).astype(np.int32)
        part_time = any(profile.available_share < 1.0 for profile in self.profiles)
        if part_time and redraw:
            problem = f"devices of fleet {self.name} are there only at times"
            raise ConfigError("fleet.redraw", True, problem, "leave it false")
        return Population(
            profiles=self.profiles,
            shares=self.shares,
            assignment=assignment,
            devices=self.devices,
            phase=rng.random(num_clients, dtype=np.float32) if part_time else None,
            redraw=redraw,
        )


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
    "phones-and-edge": Fleet(
        "phones-and-edge",
        "three classes of phones, on their CPU and for 8 hours a day; edge boards and boxes with a part of a GPU",
        phones_and_edge.PROFILES,
        phones_and_edge.SHARES,
    ),
}


def get_fleet(name: str) -> Fleet:
    """The built-in fleet of that name, or the one that a file describes; ConfigError with a near match otherwise."""
    if name in FLEETS:
        return FLEETS[name]
    if Path(name).suffix in (".yaml", ".yml", ".csv", ".parquet"):
        from orchestrator.fleet.fleet_file import read_fleet

        return read_fleet(Path(name))
    near = get_close_matches(name, FLEETS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(FLEETS)}, or a fleet file"
    raise ConfigError("fleet.name", name, "there is no such fleet", hint)
