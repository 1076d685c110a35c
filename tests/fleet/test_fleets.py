"""Device profiles and fleets: footprints, shares, refusals."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.fleet.profiles import FLEETS, DeviceProfile, Fleet, get_fleet


def profile(name: str, **footprint: Any) -> DeviceProfile:
    return DeviceProfile(
        name=name, flops_per_s=1e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=1e6, **footprint
    )


def fleet_of(*shares: float) -> Fleet:
    return Fleet("test", "", tuple(profile(str(i)) for i in range(len(shares))), shares)


def test_a_footprint_names_only_what_is_reserved() -> None:
    assert profile("default").footprint() == {"CPU": 0.1}
    assert profile("gpu", num_cpus=2, num_gpus=0.5, ray_memory_bytes=2**30).footprint() == {
        "CPU": 2,
        "GPU": 0.5,
        "memory": 2.0**30,
    }
    assert profile("nothing", num_cpus=0).footprint() == {}


@pytest.mark.parametrize(
    ("shares", "num_clients", "counts"),
    [
        ((1.0,), 7, [7]),
        ((1.0, 1.0, 1.0, 1.0, 1.0), 20, [4, 4, 4, 4, 4]),
        ((3.0, 1.0), 8, [6, 2]),
        ((0.5, 0.3, 0.2), 10, [5, 3, 2]),
    ],
)
def test_shares_that_divide_evenly_are_met_exactly(
    shares: tuple[float, ...], num_clients: int, counts: list[int]
) -> None:
    assigned = fleet_of(*shares).assign(num_clients, np.random.default_rng(0))
    assert assigned.dtype == np.int64
    assert np.bincount(assigned, minlength=len(shares)).tolist() == counts


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(1, 500))
def test_counts_follow_the_shares_to_within_one(shares: list[float], num_clients: int) -> None:
    counts = np.bincount(
        fleet_of(*shares).assign(num_clients, np.random.default_rng(0)), minlength=len(shares)
    )
    wanted = num_clients * np.array(shares) / sum(shares)
    assert counts.sum() == num_clients
    assert np.all(np.abs(counts - wanted) <= 1 + 1e-9)


def test_who_has_which_device_is_random_and_repeatable() -> None:
    fleet = fleet_of(1, 1)
    first, same, other = (fleet.assign(50, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.sort(first))


def test_the_five_tiers_halve_from_one_to_the_next() -> None:
    profiles = get_fleet("five-tier").profiles
    assert [p.flops_per_s for p in profiles] == [744_448e6 / 2**i for i in range(5)]
    assert [p.capability for p in profiles] == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_a_device_holds_a_whole_model_unless_told_otherwise() -> None:
    assert profile("default").capability == 1.0
    assert profile("small", capability=0.25).capability == 0.25


def test_every_built_in_fleet_is_consistent() -> None:
    for name, fleet in FLEETS.items():
        assert fleet.name == name
        assert len(fleet.profiles) == len(fleet.shares)
        assert len({p.name for p in fleet.profiles}) == len(fleet.profiles)
        assert all(0.0 < p.capability <= 1.0 for p in fleet.profiles)


def test_an_unknown_fleet_is_refused_with_a_near_match() -> None:
    with pytest.raises(ConfigError, match=r"fleet.name=five-tiers: .*did you mean five-tier\?"):
        get_fleet("five-tiers")
    with pytest.raises(ConfigError, match="choose one of uniform, five-tier"):
        get_fleet("zzz")
