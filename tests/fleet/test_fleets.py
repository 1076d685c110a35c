"""Fleets and device profiles: footprints, shares, the assignment of devices to clients, and rejected requests."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.registry import FLEETS, get_fleet


def profile(name: str, **footprint: Any) -> DeviceProfile:
    return DeviceProfile(
        name=name, flops_per_s=1e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=1e6, **footprint
    )


def fleet_of(*shares: float) -> Fleet:
    return Fleet("test", "", tuple(profile(str(i)) for i in range(len(shares))), shares)


def test_footprint_names_only_reserved_resources() -> None:
    assert profile("default").footprint() == {"CPU": 0.1}
    assert profile("gpu", num_cpus=2, num_gpus=0.5, ray_memory_bytes=2**30).footprint() == {
        "CPU": 2,
        "GPU": 0.5,
        "memory": 2.0**30,
    }
    assert profile("nothing", num_cpus=0).footprint() == {}
    assert profile(
        "kind", num_gpus=1, accelerator_type="H200", resources={"npu": 2, "none": 0}
    ).footprint() == {
        "CPU": 0.1,
        "GPU": 1,
        "accelerator_type:H200": 0.001,
        "npu": 2,
    }


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


def test_five_tier_halves_speed_and_capability_from_tier_to_tier() -> None:
    profiles = get_fleet("five-tier").profiles
    assert [p.flops_per_s for p in profiles] == [744_448e6 / 2**i for i in range(5)]
    assert [p.capability for p in profiles] == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_default_capability_is_the_whole_model() -> None:
    assert profile("default").capability == 1.0
    assert profile("small", capability=0.25).capability == 0.25


def test_built_in_fleets_have_matching_names_shares_and_profiles() -> None:
    for name, fleet in FLEETS.items():
        assert fleet.name == name
        assert len(fleet.profiles) == len(fleet.shares)
        assert len({p.name for p in fleet.profiles}) == len(fleet.profiles)
        assert all(0.0 < p.capability <= 1.0 for p in fleet.profiles)


def test_phones_and_edge_profiles_are_in_ascending_order() -> None:
    """Each profile is faster and larger than the one before. Only boards and boxes reserve a part of a GPU."""
    profiles = get_fleet("phones-and-edge").profiles
    for smaller, larger in pairwise(profiles):
        assert smaller.flops_per_s < larger.flops_per_s
        assert smaller.uplink_bytes_per_s <= larger.uplink_bytes_per_s < larger.downlink_bytes_per_s
        assert smaller.memory_bytes is not None
        assert larger.memory_bytes is not None
        assert smaller.memory_bytes < larger.memory_bytes
        assert smaller.capability <= larger.capability
    for device in profiles:
        phone = device.name.startswith("phone")
        assert (device.num_gpus == 0.0) == phone
        assert device.num_gpus < 1.0
        assert (device.available_share < 1.0) == (device.dropout > 0.0) == phone


def test_phones_and_edge_figures_by_hand() -> None:
    """A quarter of 44.9 GFLOP/s and of 5.3 TFLOP/s; 4.97 and 84.33 Mbit/s in bytes."""
    basic, *_, box = get_fleet("phones-and-edge").profiles
    assert basic.flops_per_s == pytest.approx(11.225e9)
    assert box.flops_per_s == pytest.approx(1.325e12)
    assert basic.uplink_bytes_per_s == pytest.approx(621_250)
    assert box.downlink_bytes_per_s == pytest.approx(10_541_250)
    assert basic.available_share * basic.available_period_s == pytest.approx(8 * 3600)


@pytest.mark.parametrize(("name", "suggested"), [("five-tiers", ["'five-tier'?"]), ("zzz", list(FLEETS))])
def test_unknown_fleet_is_rejected_with_a_suggestion(name: str, suggested: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        get_fleet(name)
    assert (caught.value.field, caught.value.value) == ("fleet.name", name)
    assert all(fleet in caught.value.remedy for fleet in suggested)


@pytest.mark.parametrize("name", FLEETS)
def test_sparse_efficiency_of_a_fleet_replaces_that_of_every_profile(name: str) -> None:
    fleet = get_fleet(name, 0.25)
    assert [profile.sparse_efficiency for profile in fleet.profiles] == [0.25] * len(fleet.profiles)
    assert get_fleet(name, None) == FLEETS[name]
    assert get_fleet(name, 0.0) == FLEETS[name]
