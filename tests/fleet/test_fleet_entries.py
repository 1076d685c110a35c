"""The keys of a fleet file: numbers with exponents, limits of amounts, and errors that name file and key."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.fleet.fleet_entries import FleetFile, ProfileEntry, validate_section
from orchestrator.fleet.profiles import DeviceProfile

FILE = Path("fleet.yaml")
SPEEDS: dict[str, Any] = {"flops_per_s": 1e9, "uplink_bytes_per_s": 2e6, "downlink_bytes_per_s": 3e6}
PHONE: dict[str, Any] = {"name": "phone", **SPEEDS}


def _entry(**changes: object) -> ProfileEntry:
    return validate_section(ProfileEntry, PHONE | changes, FILE, "profiles.phone")


def _rejected(**changes: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        _entry(**changes)
    return caught.value


def test_profile_has_the_values_of_the_entry_without_the_share() -> None:
    entry = _entry(share=3, memory_bytes="8e9", resources={"npu": 1})
    expected = DeviceProfile(name="phone", memory_bytes=8 * 10**9, resources={"npu": 1.0}, **SPEEDS)
    assert entry.profile() == expected
    assert entry.share == 3.0


@pytest.mark.parametrize("amount", [0.0, 1e-4, 0.5, 2])
def test_amounts_that_ray_can_reserve_are_accepted(amount: float) -> None:
    assert _entry(num_cpus=amount).num_cpus == amount


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_cpus", 5e-5),
        ("num_cpus", -1),
        ("num_gpus", 1.5),
        ("resources", {"CPU": 1}),
        ("memory_bytes", 0),
        ("ray_memory_bytes", "much"),
        ("capability", 0.0),
        ("available_share", 1.5),
        ("dropout", 1.0),
        ("flops_per_s", 0.0),
    ],
)
def test_value_out_of_range_is_rejected_with_file_profile_and_key(key: str, value: object) -> None:
    error = _rejected(**{key: value})
    assert error.field == f"fleet.yaml: profiles.phone.{key}"
    description = ProfileEntry.model_fields[key].description
    assert description is not None
    assert description in error.remedy


def test_resource_with_a_negative_amount_is_rejected_with_its_name() -> None:
    assert _rejected(resources={"npu": -1}).field.startswith("fleet.yaml: profiles.phone.resources")


def test_unknown_key_is_rejected_with_a_similar_key_or_all_keys() -> None:
    error = _rejected(capabilty=0.5)
    assert (error.field, error.value) == ("fleet.yaml: profiles.phone.capabilty", "0.5")
    assert error.remedy == "did you mean 'capability'?"
    assert all(key in _rejected(colour="red").remedy for key in ProfileEntry.model_fields)


def test_missing_key_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        validate_section(ProfileEntry, {"name": "phone"}, FILE)
    assert (caught.value.field, caught.value.value) == ("fleet.yaml: flops_per_s", "(nothing)")


@pytest.mark.parametrize("tree", [None, [1, 2], "text"])
def test_file_without_a_mapping_is_rejected(tree: object) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_section(FleetFile, tree, FILE)
    assert (caught.value.field, caught.value.value) == ("fleet.name", FILE)
    assert all(key in caught.value.remedy for key in FleetFile.model_fields)
