"""The built-in fleets by name."""

import pytest

from orchestrator.errors import ConfigError
from orchestrator.fleet.registry import FLEETS, get_fleet


def test_five_tier_halves_speed_and_capability_from_tier_to_tier() -> None:
    profiles = get_fleet("five-tier").profiles
    assert [p.flops_per_s for p in profiles] == [744_448e6 / 2**i for i in range(5)]
    assert [p.capability for p in profiles] == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_built_in_fleets_have_matching_names_shares_and_profiles() -> None:
    for name, fleet in FLEETS.items():
        assert fleet.name == name
        assert len(fleet.profiles) == len(fleet.shares)
        assert len({p.name for p in fleet.profiles}) == len(fleet.profiles)
        assert all(0.0 < p.capability <= 1.0 for p in fleet.profiles)


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
