"""Fleets and device profiles: footprints, shares, the assignment of devices to clients, and rejected requests."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.fleets import Fleet
from tests.support.fleets import profile


def fleet_of(*shares: float) -> Fleet:
    return Fleet("test", "", tuple(profile(str(i)) for i in range(len(shares))), shares)


@pytest.mark.parametrize(
    ("shares", "num_clients", "counts"),
    [
        ((1.0,), 7, [7]),
        ((1.0, 1.0, 1.0, 1.0, 1.0), 20, [4, 4, 4, 4, 4]),
        ((3.0, 1.0), 8, [6, 2]),
        ((0.5, 0.3, 0.2), 10, [5, 3, 2]),
    ],
)
def test_profile_counts_equal_shares_that_divide_evenly(
    shares: tuple[float, ...], num_clients: int, counts: list[int]
) -> None:
    assigned = fleet_of(*shares).populate(num_clients, np.random.default_rng(0)).assignment
    assert assigned.dtype == np.int32
    assert np.bincount(assigned, minlength=len(shares)).tolist() == counts


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(1, 500))
def test_profile_counts_follow_the_shares_to_within_one(shares: list[float], num_clients: int) -> None:
    assigned = fleet_of(*shares).populate(num_clients, np.random.default_rng(0)).assignment
    counts = np.bincount(assigned, minlength=len(shares))
    expected = num_clients * np.array(shares) / sum(shares)
    assert counts.sum() == num_clients
    assert np.all(np.abs(counts - expected) <= 1 + 1e-9)


def test_profile_counts_survive_rounding_in_the_sum_of_shares() -> None:
    """The cumulative sum of ten shares of 0.1 is not exactly 1."""
    assigned = fleet_of(*[0.1] * 10).populate(1000, np.random.default_rng(0)).assignment
    assert np.bincount(assigned, minlength=10).tolist() == [100] * 10


def test_profile_with_share_zero_has_no_clients() -> None:
    assigned = fleet_of(0.0, 1.0, 0.0, 1.0, 0.0).populate(6, np.random.default_rng(0)).assignment
    assert np.bincount(assigned, minlength=5).tolist() == [0, 3, 0, 3, 0]


def of_trace(num_devices: int) -> Fleet:
    devices = Devices(profile=np.zeros(num_devices, dtype=np.int32))
    return Fleet("traced", "", (profile("0"),), devices=devices)


@pytest.mark.parametrize("num_clients", [4, 7, 14, 17])
def test_devices_of_a_trace_are_assigned_in_turn(num_clients: int) -> None:
    assigned = of_trace(7).populate(num_clients, np.random.default_rng(0)).assignment
    assert assigned.dtype == np.int32
    counts = np.bincount(assigned, minlength=7)
    assert counts.sum() == num_clients
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(assigned[7:], assigned[: num_clients - 7] if num_clients > 7 else [])
    assert len(set(assigned[:7].tolist())) == min(num_clients, 7)


def test_assignment_of_a_trace_is_random_and_repeatable() -> None:
    first, same, other = (
        of_trace(50).populate(50, np.random.default_rng(seed)).assignment for seed in (0, 0, 1)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_part_time_devices_have_random_phases() -> None:
    whole, part = profile("0"), profile("1", available_share=0.5)
    assert Fleet("test", "", (whole,)).populate(3, np.random.default_rng(0)).phase is None
    phase = Fleet("test", "", (whole, part), (1, 1)).populate(1000, np.random.default_rng(0)).phase
    assert phase is not None
    assert phase.dtype == np.float32
    assert 0.0 <= phase.min() < 0.01
    assert 0.99 < phase.max() < 1.0


@pytest.mark.parametrize(
    ("fleet", "cause"),
    [(of_trace(3), "trace"), (Fleet("test", "", (profile("0", available_share=0.5),)), "available")],
)
def test_redraw_rejects_traces_and_part_time_devices(fleet: Fleet, cause: str) -> None:
    with pytest.raises(ConfigError) as caught:
        fleet.populate(3, np.random.default_rng(0), redraw=True)
    assert (caught.value.field, caught.value.value) == ("fleet.redraw", True)
    assert fleet.name in caught.value.problem
    assert cause in caught.value.problem


def test_assignment_of_profiles_is_random_and_repeatable() -> None:
    fleet = fleet_of(1, 1)
    first, same, other = (fleet.populate(50, np.random.default_rng(seed)).assignment for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.sort(first))
