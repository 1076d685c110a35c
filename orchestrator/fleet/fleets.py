"""Fleets: profiles with their shares of the population, built in or from a file."""

from dataclasses import dataclass, field

import numpy as np

from orchestrator.errors import ConfigError
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
