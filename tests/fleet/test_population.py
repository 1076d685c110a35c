"""A population: the clients' devices, devices that change every round, and availability."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from orchestrator.fleet.devices import Devices
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.population import Population
from tests.support.fakes import DEVICE

INF = float("inf")
SMALL, LARGE = replace(DEVICE, name="small", capability=0.25), replace(DEVICE, name="large")
#: 8 hours of each 24
NIGHTLY = replace(DEVICE, name="nightly", available_share=1 / 3)


def population(*clients: int, **more: object) -> Population:
    """Client k has profile `clients[k]` of SMALL, LARGE and NIGHTLY."""
    fields = {"profiles": (SMALL, LARGE, NIGHTLY), "shares": (1.0, 1.0, 1.0), **more}
    return Population(assignment=np.array(clients, dtype=np.int32), **fields)  # type: ignore[arg-type]


def test_client_has_the_device_assigned_to_it() -> None:
    clients = population(1, 0, 0)
    assert len(clients) == 3
    assert [clients.profile_of(k).name for k in range(3)] == ["large", "small", "small"]
    assert [clients.largest_capability(k) for k in range(3)] == [1.0, 0.25, 0.25]
    assert clients.profile_counts() == {0: 2, 1: 1}


def test_device_of_a_trace_has_its_profile_speeds_and_intervals() -> None:
    trace = Devices(
        profile=np.array([0, 1, 1], dtype=np.int32),
        speeds=np.arange(1.0, 10.0).reshape(3, 3),
        first=np.array([0, 1, 2, 3]),
        intervals=np.array([[0.0, 10.0], [20.0, 30.0], [5.0, 6.0]]),
    )
    clients = population(2, 0, 0, devices=trace)
    assert [clients.profile_index(k) for k in range(3)] == [1, 0, 0]
    assert [clients.profile_of(k).flops_per_s for k in range(3)] == [7.0, 1.0, 1.0]
    assert [clients.largest_capability(k) for k in range(3)] == [1.0, 0.25, 0.25]
    assert clients.profile_counts() == {0: 2, 1: 1}
    assert [clients.available_until(k, 5.5) for k in range(3)] == [6.0, 10.0, 10.0]
    assert clients.available_until(0, 25.0) == -INF


def test_profile_sets_the_availability_of_a_trace_without_intervals() -> None:
    trace = Devices(profile=np.array([2, 1], dtype=np.int32))
    clients = population(0, 1, devices=trace, phase=np.zeros(2, dtype=np.float32))
    assert clients.available_until(0, 0.0) == pytest.approx(8 * 3600)
    assert clients.available_until(0, 9 * 3600) == -INF
    assert clients.available_until(1, 9 * 3600) == INF


def test_redrawn_profiles_follow_the_shares() -> None:
    clients = population(0, shares=(1.0, 3.0, 0.0), redraw=True)
    rng = np.random.default_rng(0)
    counts = np.bincount([clients.profile_index(0, rng) for _ in range(4000)], minlength=3)
    assert counts[2] == 0
    # 1000 expected, with a standard deviation of sqrt(4000 / 4 * 3 / 4) = 27
    assert abs(counts[0] - 1000) < 140
    repeated = [clients.profile_of(0, np.random.default_rng(7)).name for _ in range(2)]
    assert repeated[0] == repeated[1]


def test_largest_capability_with_redraw_covers_profiles_with_a_share() -> None:
    assert population(0, shares=(1.0, 1.0, 0.0), redraw=True).largest_capability(0) == 1.0
    assert population(1, shares=(1.0, 0.0, 0.0), redraw=True).largest_capability(0) == 0.25


def test_profile_counts_with_redraw_are_expected_numbers() -> None:
    clients = population(*[0] * 10, shares=(0.04, 2.0, 0.0), redraw=True)
    assert clients.profile_counts() == {0: 1, 1: 10}


def test_clients_without_phase_are_always_available() -> None:
    assert population(0, 1).available_until(1, 1e9) == INF


@pytest.mark.parametrize(
    ("time_h", "until_h"),
    [
        (0, -INF),
        (11.9, -INF),
        (12, 20),
        (19, 20),
        (20.1, -INF),
        (24, -INF),
        (36, 44),
        (43.9, 44),
        (44.1, -INF),
    ],
)
def test_phase_shifts_the_availability(time_h: float, until_h: float) -> None:
    """With phase 1/2, half of the day is over at time 0. A new day starts at 12 h, and the client is available 8 h."""
    clients = population(2, phase=np.array([0.5], dtype=np.float32))
    assert clients.available_until(0, time_h * 3600) == pytest.approx(until_h * 3600)


def test_only_part_time_profiles_follow_the_phase() -> None:
    clients = population(1, 2, phase=np.array([0.9, 0.9], dtype=np.float32))
    assert clients.available_until(0, 0.0) == INF
    assert clients.available_until(1, 0.0) == -INF


def test_phases_spread_the_availability_over_the_day() -> None:
    """The clients are available for a third of the day, so about a third of them is available at any time."""
    clients = Fleet("nightly", "", (NIGHTLY,)).populate(3000, np.random.default_rng(0))
    for time_s in (0.0, 40_000.0, 1e7):
        num_available = sum(clients.available_until(k, time_s) > time_s for k in range(3000))
        # standard deviation sqrt(3000 * 1/3 * 2/3) = 26
        assert abs(num_available - 1000) < 130


def test_fingerprint_covers_every_field() -> None:
    """Equal populations have equal fingerprints; another value of any field changes the fingerprint."""
    slow = replace(DEVICE, flops_per_s=1.0)
    assignment, zero = np.zeros(3, np.int32), np.zeros(3, np.float32)

    def fingerprint(**changes: Any) -> str:
        content: dict[str, Any] = {"profiles": (DEVICE,), "shares": (1.0,), "assignment": assignment}
        return Population(**(content | changes)).fingerprint()

    intervals = np.array([[0.0, 1.0]])
    trace = {"profile": np.zeros(1, np.int32), "first": np.array([0, 1]), "intervals": intervals}
    others = [
        {"profiles": (slow,)},
        {"profiles": (replace(DEVICE, sparse_efficiency=0.5),)},
        {"profiles": (replace(DEVICE, sparse_efficiency=1.0),)},
        {"shares": (2.0,)},
        {"assignment": assignment + 1},
        {"phase": zero},
        {"phase": zero + 0.5},
        {"redraw": True},
        {"devices": Devices(**trace)},
        {"devices": Devices(**{**trace, "intervals": intervals + 1.0})},
        {"devices": Devices(**trace, period_s=9.0)},
    ]
    assert fingerprint() == fingerprint(assignment=assignment.copy())
    assert len({fingerprint(), *(fingerprint(**changes) for changes in others)}) == 1 + len(others)


def test_fingerprint_of_ideal_devices_is_that_of_earlier_versions() -> None:
    """These versions had no sparse efficiency: the hash of profiles, shares, redraw, assignment and three nones."""
    ideal = replace(DEVICE, sparse_efficiency=1.0)
    assignment = np.zeros(3, np.int32)
    population = Population(profiles=(ideal,), shares=(1.0,), assignment=assignment)
    assert "sparse_efficiency" not in repr(ideal)
    digest = sha256(repr(((ideal,), (1.0,), False)).encode() + assignment.tobytes() + b"none" + b"None")
    assert population.fingerprint() == digest.hexdigest()
