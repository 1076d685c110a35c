"""Assigns devices to clients. The assignment depends only on the seed, so that it can be repeated without the run."""

import numpy as np

from orchestrator.federation.seeds import stream
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from orchestrator.fleet.profiles import DeviceProfile


def sample_population(fleet: Fleet, num_clients: int, seed: int, *, redraw: bool) -> Population:
    """The devices of all clients of a run with this seed. Raises ConfigError for a fleet that cannot be redrawn."""
    return fleet.populate(num_clients, stream(seed, "fleet"), redraw=redraw)


def device_stream(
    population: Population, seed: int, client_id: int, round_idx: int
) -> np.random.Generator | None:
    """The generator for a client's device in a round; None if clients keep their devices."""
    return stream(seed, "client", round_idx, client_id, "device") if population.redraw else None


def device_of(population: Population, seed: int, client_id: int, round_idx: int) -> DeviceProfile:
    """The device that a client of a run with this seed has in a round."""
    return population.profile_of(client_id, device_stream(population, seed, client_id, round_idx))
