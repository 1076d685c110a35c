"""Fleets from files: valid files, the examples in docs/fleets.md, and rejected files."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.fleet.fleet_entries import FleetFile, ProfileEntry
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.registry import get_fleet
from orchestrator.fleet.trace import COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "fleets.md").read_text()
SPEEDS = "flops_per_s: 1e9, uplink_bytes_per_s: 2e6, downlink_bytes_per_s: 3e6"
PHONE = f"- {{name: phone, {SPEEDS}}}"
BOX = f"- {{name: box, {SPEEDS}}}"


def write(folder: Path, *lines: str, name: str = "fleet.yaml") -> str:
    (folder / name).write_text("\n".join(lines) + "\n")
    return str(folder / name)


def rejection(file: str) -> ConfigError:
    """The error for a wrong file. Its message is one line."""
    with pytest.raises(ConfigError) as caught:
        get_fleet(file)
    assert "\n" not in str(caught.value)
    return caught.value


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_profile_takes_its_values_from_the_file_and_defaults_otherwise(tmp_path: Path) -> None:
    all_keys = (
        "share: 3, num_cpus: 2, num_gpus: 0.5, ray_memory_bytes: 1e9, resources: {npu: 1}, accelerator_type: H200, "
        "memory_bytes: 8e9, capability: 0.25, available_share: 0.5, available_period_s: 60, dropout: 0.1, "
        "sparse_efficiency: 0.5"
    )
    file = write(
        tmp_path, "summary: two kinds", "profiles:", f"- {{name: full, {SPEEDS}, {all_keys}}}", PHONE
    )
    fleet = get_fleet(file)
    assert (fleet.name, fleet.summary, fleet.shares, fleet.devices) == (
        "fleet",
        "two kinds",
        (3.0, 1.0),
        None,
    )
    phone = DeviceProfile(name="phone", flops_per_s=1e9, uplink_bytes_per_s=2e6, downlink_bytes_per_s=3e6)
    full = replace(
        phone,
        name="full",
        num_cpus=2,
        num_gpus=0.5,
        ray_memory_bytes=10**9,
        resources={"npu": 1},
        accelerator_type="H200",
        memory_bytes=8 * 10**9,
        capability=0.25,
        available_share=0.5,
        available_period_s=60,
        dropout=0.1,
        sparse_efficiency=0.5,
    )
    assert fleet.profiles == (full, phone)
    assert isinstance(fleet.profiles[0].memory_bytes, int)


def test_profile_counts_follow_the_shares_of_a_file(tmp_path: Path) -> None:
    phones, boxes = PHONE.replace("}", ", share: 3}"), BOX
    fleet = get_fleet(write(tmp_path, "name: mixed", "profiles:", phones, boxes))
    assert fleet.name == "mixed"
    assert fleet.populate(8, np.random.default_rng(0)).profile_counts() == {0: 6, 1: 2}


def test_trace_path_is_relative_to_the_fleet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", "client,profile", "a,box", "b,phone", "c,box", name="who.csv")
    write(tmp_path / "deep", "trace: who.csv", "profiles:", PHONE, BOX)
    monkeypatch.chdir(tmp_path)
    devices = get_fleet("deep/fleet.yaml").devices
    assert devices is not None
    assert devices.profile.tolist() == [1, 0, 1]


def test_trace_alone_is_a_fleet_of_one_profile(tmp_path: Path) -> None:
    heading = "client,flops_per_s,uplink_bytes_per_s,downlink_bytes_per_s"
    fleet = get_fleet(write(tmp_path, heading, "a,1,10,100", "b,9,90,900", "c,2,20,200", name="who.csv"))
    assert fleet.name == "who"
    typical = DeviceProfile(name="trace", flops_per_s=2, uplink_bytes_per_s=20, downlink_bytes_per_s=200)
    assert fleet.profiles == (typical,)
    population = fleet.populate(3, np.random.default_rng(0))
    assert sorted(population.profile_of(k).flops_per_s for k in range(3)) == [1, 2, 9]


def test_fleet_in_the_docs(tmp_path: Path) -> None:
    fleet = get_fleet(write(tmp_path, blocks("yaml")[0]))
    assert (fleet.name, fleet.shares) == ("home", (4.0, 1.0))
    phone, box = fleet.profiles
    assert (phone.flops_per_s, phone.memory_bytes, phone.available_share) == (15e9, 3 * 10**9, 0.33)
    assert (box.num_cpus, box.available_share) == (0.5, 1.0)


def test_trace_in_the_docs(tmp_path: Path) -> None:
    write(tmp_path, blocks("csv")[0], name="devices.csv")
    fleet = get_fleet(write(tmp_path, blocks("yaml")[1]))
    devices = fleet.devices
    assert devices is not None
    assert [fleet.profiles[index].name for index in devices.profile] == ["phone", "phone", "box"]
    anna, ben, box = range(3)
    hour = 3600.0
    assert devices.available_until(anna, 23 * hour) == 30 * hour
    assert devices.available_until(anna, 12 * hour) == -float("inf")
    assert devices.available_until(ben, 26 * hour) == 32 * hour
    assert devices.available_until(box, 5 * hour) == float("inf")
    assert devices.with_own_speeds(anna, fleet.profiles[0]).uplink_bytes_per_s == 1.1e6


def test_trace_without_profiles_in_the_docs(tmp_path: Path) -> None:
    devices = get_fleet(write(tmp_path, blocks("csv")[1], name="speeds.csv")).devices
    assert devices is not None
    assert devices.speeds is not None
    assert devices.speeds.tolist() == [[12e9, 1.1e6, 4e6], [310e9, 4.8e6, 11e6]]


def test_docs_name_every_key_and_column() -> None:
    documented = set(re.findall(r"`(\w+)`", PAGE))
    assert {*ProfileEntry.model_fields, *COLUMNS, "trace", "period_s"} <= documented


def test_file_has_a_key_for_every_field_of_a_profile() -> None:
    keys = set(ProfileEntry.model_fields)
    assert keys - {"share"} == set(DeviceProfile.__dataclass_fields__)


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("flops_per_s", "0", "greater than 0"),
        ("flops_per_s", "-1e9", "greater than 0"),
        ("flops_per_s", "fast", "valid number"),
        ("uplink_bytes_per_s", "true", "valid number"),
        ("downlink_bytes_per_s", ".inf", "finite number"),
        ("capability", "0", "greater than 0"),
        ("capability", "1.1", "less than or equal to 1"),
        ("available_share", "0", "greater than 0"),
        ("available_share", "1.5", "less than or equal to 1"),
        ("available_period_s", "0", "greater than 0"),
        ("dropout", "1", "less than 1"),
        ("dropout", "-0.1", "greater than or equal to 0"),
        ("sparse_efficiency", "-0.1", "greater than or equal to 0"),
        ("sparse_efficiency", "1.1", "less than or equal to 1"),
        ("share", "-1", "greater than or equal to 0"),
        ("num_cpus", "-1", "greater than or equal to 0"),
        ("num_cpus", "0.00001", "at least 0.0001"),
        ("num_gpus", "1.5", "whole number"),
        ("ray_memory_bytes", "-1", "greater than or equal to 0"),
        ("memory_bytes", "0", "greater than 0"),
        ("memory_bytes", "1.5", "valid integer"),
        ("accelerator_type", "''", "at least 1 character"),
    ],
)
def test_values_out_of_range_are_rejected(tmp_path: Path, key: str, value: str, limit: str) -> None:
    """The error names the file, the profile and the key; the remedy is the key's description."""
    fields = [field for field in SPEEDS.split(", ") if not field.startswith(f"{key}:")]
    entry = ", ".join(["name: phone", *fields, f"{key}: {value}"])
    file = write(tmp_path, "profiles:", f"- {{{entry}}}")
    error = rejection(file)
    assert error.field == f"{file}: profiles.phone.{key}"
    assert limit in error.problem
    assert error.remedy == f"give {ProfileEntry.model_fields[key].description}"


@pytest.mark.parametrize(
    ("lines", "key", "value", "remedy"),
    [
        (["name: x"], "profiles", "(nothing)", "mapping"),
        (["profiles: []"], "profiles", "[]", "mapping"),
        (["profiles: [phone]"], "profiles.0", "phone", "mapping"),
        (["profils:", PHONE], "profils", "[{'name': 'phone', 'flops_per_s': '1e9', [...]", "'profiles'?"),
        (["colour: red", "profiles:", PHONE], "colour", "red", "name, summary"),
        (
            ["profiles:", PHONE.replace("flops_per_s", "flop_per_s")],
            "profiles.phone.flop_per_s",
            "1e9",
            "'flops_per_s'?",
        ),
        (
            ["profiles:", "- {name: phone, flops_per_s: 1}"],
            "profiles.phone.uplink_bytes_per_s",
            "(nothing)",
            "bytes",
        ),
        (["profiles:", f"- {{{SPEEDS}}}"], "profiles.0.name", "(nothing)", "name"),
        (
            ["profiles:", PHONE.replace("}", ", resources: {GPU: 1}}")],
            "profiles.phone.resources",
            "{'GPU': 1}",
            "custom",
        ),
        (
            ["profiles:", PHONE.replace("}", ", resources: {npu: -1}}")],
            "profiles.phone.resources.npu",
            "-1",
            "custom",
        ),
        (["profiles:", PHONE, PHONE], "profiles", "phone", "name"),
        (
            ["profiles:", PHONE.replace("}", ", share: 0}"), BOX.replace("}", ", share: 0}")],
            "profiles",
            "(0.0, 0.0)",
            "share",
        ),
        (["period_s: 60", "profiles:", PHONE], "period_s", "60.0", "trace:"),
        (
            ["trace: who.csv", "profiles:", PHONE.replace("}", ", share: 1}")],
            "profiles.phone.share",
            "1.0",
            "remove",
        ),
        (["trace: who.csv", "period_s: 60", "profiles:", PHONE], "period_s", "60.0", "remove"),
        (
            ["trace: when.csv", "profiles:", PHONE.replace("}", ", available_share: 0.5}")],
            "profiles.phone.available_share",
            "0.5",
            "remove",
        ),
    ],
)
def test_wrong_keys_are_rejected(tmp_path: Path, lines: list[str], key: str, value: str, remedy: str) -> None:
    write(tmp_path, "client,profile", "a,phone", name="who.csv")
    write(tmp_path, "client,available_from_s,available_until_s", "a,0,5", name="when.csv")
    file = write(tmp_path, *lines)
    error = rejection(file)
    assert (error.field, str(error.value)) == (f"{file}: {key}", value)
    assert remedy in error.remedy


@pytest.mark.parametrize("lines", [["- phone"], []])
def test_file_without_a_mapping_is_rejected(tmp_path: Path, lines: list[str]) -> None:
    error = rejection(write(tmp_path, *lines))
    assert (error.field, error.value) == ("fleet.name", tmp_path / "fleet.yaml")
    assert error.remedy == f"give it the keys {', '.join(FleetFile.model_fields)}"


@pytest.mark.parametrize("content", [b"profiles: [", "name: früh\n".encode("latin-1")])
def test_file_that_is_not_yaml_is_rejected(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_bytes(content)
    error = rejection(str(file))
    assert (error.field, error.value) == ("fleet.name", file)
    assert "YAML" in error.problem


def test_fleet_with_a_missing_trace_is_rejected(tmp_path: Path) -> None:
    file = write(tmp_path, "trace: no.csv", "profiles:", PHONE)
    error = rejection(file)
    assert (error.field, error.value) == (f"{file}: trace", tmp_path / "no.csv")


@pytest.mark.parametrize(
    ("lines", "cell", "value"),
    [
        (
            ["trace: when.csv", "period_s: 4", "profiles:", PHONE],
            "when.csv: row 1, client a: available_until_s",
            5,
        ),
        (["trace: who.csv", "profiles:", BOX], "who.csv: row 1, client a: profile", "phone"),
    ],
)
def test_trace_that_contradicts_its_fleet_is_rejected(
    tmp_path: Path, lines: list[str], cell: str, value: object
) -> None:
    write(tmp_path, "client,profile", "a,phone", name="who.csv")
    write(tmp_path, "client,available_from_s,available_until_s", "a,0,5", name="when.csv")
    error = rejection(write(tmp_path, *lines))
    assert error.field == f"{tmp_path}/{cell}"
    assert str(error.value) == str(value)


@pytest.mark.parametrize("name", ["no.yaml", "no.yml", "no.csv", "no.parquet"])
def test_missing_file_is_rejected(tmp_path: Path, name: str) -> None:
    error = rejection(str(tmp_path / name))
    assert (error.field, error.value) == ("fleet.name", str(tmp_path / name))


def test_path_with_an_unknown_home_folder_is_rejected() -> None:
    error = rejection("~no-such-user/f.yaml")
    assert (error.field, str(error.value)) == ("fleet.name", "~no-such-user/f.yaml")
