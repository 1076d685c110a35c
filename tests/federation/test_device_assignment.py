"""Devices of clients: a function of the seed alone, and new in each round with `fleet.redraw`."""

import numpy as np
import pytest

from orchestrator.federation.device_assignment import device_of, device_stream, sample_population
from orchestrator.federation.seeds import stream
from orchestrator.fleet.registry import get_fleet

FLEET = get_fleet("five-tier")


def test_population_is_the_fleets_with_the_stream_of_the_seed() -> None:
    found = sample_population(FLEET, 20, 3, redraw=False)
    expected = FLEET.populate(20, stream(3, "fleet"))
    assert found.fingerprint() == expected.fingerprint()
    assert found.fingerprint() != sample_population(FLEET, 20, 4, redraw=False).fingerprint()


def test_client_keeps_its_device_without_redraw() -> None:
    population = sample_population(FLEET, 20, 3, redraw=False)
    assert device_stream(population, 3, 0, 0) is None
    for client_id in range(20):
        kept = FLEET.profiles[population.assignment[client_id]]
        assert [device_of(population, 3, client_id, r) for r in range(3)] == [kept] * 3


def test_redrawn_device_depends_on_seed_client_and_round() -> None:
    """40 devices of five kinds: the chance that two sequences agree is 5**-40."""
    population = sample_population(FLEET, 10, 0, redraw=True)

    def devices(seed: int, clients: range, rounds: range) -> list[str]:
        return [device_of(population, seed, k, r).name for k in clients for r in rounds]

    first = devices(0, range(10), range(4))
    assert devices(0, range(10), range(4)) == first
    assert devices(1, range(10), range(4)) != first
    assert devices(0, range(10), range(4, 8)) != first
    assert len({device_of(population, 0, 3, r).name for r in range(40)}) > 1


@pytest.mark.parametrize(("client_id", "round_idx"), [(0, 0), (4, 7)])
def test_redrawn_device_comes_from_the_clients_own_stream(client_id: int, round_idx: int) -> None:
    """Five equal shares: the number in [0, 1) times five, rounded down, is the profile."""
    population = sample_population(FLEET, 10, 2, redraw=True)
    number = stream(2, "client", round_idx, client_id, "device").random()
    expected = FLEET.profiles[int(np.floor(5 * number))]
    assert device_of(population, 2, client_id, round_idx) is expected
