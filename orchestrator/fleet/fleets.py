"""A fleet describes the devices of a population and assigns them to the clients of a run."""

from dataclasses import dataclass, field, replace

import numpy as np

from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile


@dataclass(frozen=True, slots=True)
class Fleet:
    """Device profiles with their shares of the population (relative weights), or the `devices` of a trace."""

    name: str
    summary: str
    profiles: tuple[DeviceProfile, ...]
    shares: tuple[float, ...] = field(default=(1.0,))
    devices: Devices | None = None

    def with_sparse_efficiency(self, efficiency: float | None) -> "Fleet":
        """Return the fleet with this sparse efficiency on every device; None: that of each profile."""
        if efficiency is None:
            return self
        profiles = tuple(replace(profile, sparse_efficiency=efficiency) for profile in self.profiles)
        return replace(self, profiles=profiles)

    def populate(self, num_clients: int, rng: np.random.Generator, *, redraw: bool = False) -> Population:
        """Assign a device to every client, in random order.

        The number of clients of each profile follows the shares to within one. The devices of a trace are assigned in
        turn. When there are more clients than devices, the assignment continues with the first device. Raises
        ConfigError with `redraw` for a trace and for devices that are not always available.
        """
        if self.devices is not None and redraw:
            problem = f"the trace of fleet {self.name} fixes each client's device"
            raise ConfigError("fleet.redraw", True, problem, "set it to false")
        if self.devices is not None:
            order = rng.permutation(len(self.devices)).astype(np.int32)
            assignment = order[np.arange(num_clients) % len(order)]
        else:
            edges = np.cumsum(self.shares)
            indices = np.searchsorted(edges / edges[-1], (np.arange(num_clients) + 0.5) / num_clients)
            assignment = rng.permutation(indices).astype(np.int32)
        part_time = any(profile.available_share < 1.0 for profile in self.profiles)
        if part_time and redraw:
            problem = f"fleet {self.name} has devices that are not always available"
            raise ConfigError("fleet.redraw", True, problem, "set it to false")
        return Population(
            profiles=self.profiles,
            shares=self.shares,
            assignment=assignment,
            devices=self.devices,
            phase=rng.random(num_clients, dtype=np.float32) if part_time else None,
            redraw=redraw,
        )
