"""Fleets from files: what they come to, the page that shows them, and every way in which they can be wrong."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.fleet.fleet_entries import ProfileEntry
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


def refusal(file: str) -> str:
    """The one line of the refusal, with the file's path cut down to its name."""
    with pytest.raises(ConfigError) as caught:
        get_fleet(file)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(f"{Path(file).parent}/", "")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_a_profile_has_what_is_written_and_defaults_for_the_rest(tmp_path: Path) -> None:
    more = (
        "share: 3, num_cpus: 2, num_gpus: 0.5, ray_memory_bytes: 1e9, resources: {npu: 1}, accelerator_type: H200, "
        "memory_bytes: 8e9, capability: 0.25, available_share: 0.5, available_period_s: 60, dropout: 0.1"
    )
    file = write(tmp_path, "summary: two kinds", "profiles:", f"- {{name: full, {SPEEDS}, {more}}}", PHONE)
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
    )
    assert fleet.profiles == (full, phone)
    assert isinstance(fleet.profiles[0].memory_bytes, int)


def test_shares_of_a_file_are_met(tmp_path: Path) -> None:
    phones, boxes = PHONE.replace("}", ", share: 3}"), BOX
    fleet = get_fleet(write(tmp_path, "name: mixed", "profiles:", phones, boxes))
    assert fleet.name == "mixed"
    assert fleet.populate(8, np.random.default_rng(0)).profile_counts() == {0: 6, 1: 2}


def test_a_trace_is_seen_from_the_folder_of_its_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep", "client,profile", "a,box", "b,phone", "c,box", name="who.csv")
    write(tmp_path / "deep", "trace: who.csv", "profiles:", PHONE, BOX)
    monkeypatch.chdir(tmp_path)
    devices = get_fleet("deep/fleet.yaml").devices
    assert devices is not None
    assert devices.profile.tolist() == [1, 0, 1]


def test_a_trace_alone_is_a_fleet_of_one_profile(tmp_path: Path) -> None:
    heading = "client,flops_per_s,uplink_bytes_per_s,downlink_bytes_per_s"
    fleet = get_fleet(write(tmp_path, heading, "a,1,10,100", "b,9,90,900", "c,2,20,200", name="who.csv"))
    assert fleet.name == "who"
    typical = DeviceProfile(name="trace", flops_per_s=2, uplink_bytes_per_s=20, downlink_bytes_per_s=200)
    assert fleet.profiles == (typical,)
    population = fleet.populate(3, np.random.default_rng(0))
    assert sorted(population.profile_of(k).flops_per_s for k in range(3)) == [1, 2, 9]


def test_the_fleet_on_the_page(tmp_path: Path) -> None:
    fleet = get_fleet(write(tmp_path, blocks("yaml")[0]))
    assert (fleet.name, fleet.shares) == ("home", (4.0, 1.0))
    phone, box = fleet.profiles
    assert (phone.flops_per_s, phone.memory_bytes, phone.available_share) == (15e9, 3 * 10**9, 0.33)
    assert (box.num_cpus, box.available_share) == (0.5, 1.0)


def test_the_trace_on_the_page(tmp_path: Path) -> None:
    write(tmp_path, *blocks("csv"), name="devices.csv")
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
    assert devices.at_own_speed(anna, fleet.profiles[0]).uplink_bytes_per_s == 1.1e6


def test_the_page_has_every_key_and_column() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert {*ProfileEntry.model_fields, *COLUMNS, "trace", "period_s"} <= told


def test_an_entry_takes_every_field_of_a_profile() -> None:
    entry = set(ProfileEntry.model_fields)
    assert entry - {"share"} == set(DeviceProfile.__dataclass_fields__)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "flops_per_s",
            "0",
            "should be greater than 0; give FLOPs that the device does in a second, above 0",
        ),
        ("flops_per_s", "-1e9", "should be greater than 0; give FLOPs"),
        ("flops_per_s", "fast", "should be a valid number"),
        ("uplink_bytes_per_s", "true", "should be a valid number"),
        ("downlink_bytes_per_s", ".inf", "should be a finite number"),
        (
            "capability",
            "0",
            "should be greater than 0; give the share of a model that it can hold, in (0, 1]",
        ),
        ("capability", "1.1", "should be less than or equal to 1"),
        ("available_share", "0", "should be greater than 0"),
        ("available_share", "1.5", "should be less than or equal to 1"),
        ("available_period_s", "0", "should be greater than 0"),
        ("dropout", "1", "should be less than 1; give the probability that it vanishes, in [0, 1)"),
        ("dropout", "-0.1", "should be greater than or equal to 0"),
        ("share", "-1", "should be greater than or equal to 0"),
        ("num_cpus", "-1", "should be greater than or equal to 0"),
        ("num_cpus", "0.00001", "should be 0 or at least 0.0001"),
        ("num_gpus", "1.5", "should be a part of one GPU or a whole number"),
        ("ray_memory_bytes", "-1", "should be greater than or equal to 0"),
        ("memory_bytes", "0", "should be greater than 0; give bytes of RAM, above 0"),
        ("memory_bytes", "1.5", "should be a valid integer"),
        ("accelerator_type", "''", "should have at least 1 character"),
    ],
)
def test_values_out_of_range(tmp_path: Path, key: str, value: str, told: str) -> None:
    fields = [field for field in SPEEDS.split(", ") if not field.startswith(f"{key}:")]
    entry = ", ".join(["name: phone", *fields, f"{key}: {value}"])
    line = refusal(write(tmp_path, "profiles:", f"- {{{entry}}}"))
    assert line.startswith(f"fleet.yaml: profiles.phone.{key}=")
    assert told in line


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["- phone"],
            "fleet.name=fleet.yaml: it does not hold a mapping; give it the keys name, summary, profiles",
        ),
        ([], "fleet.name=fleet.yaml: it does not hold a mapping"),
        (["profiles: ["], "fleet.name=fleet.yaml: it is not YAML (while parsing"),
        (
            ["name: x"],
            "fleet.yaml: profiles=(nothing): field required; give a list of profiles, each a mapping",
        ),
        (["profiles: []"], "fleet.yaml: profiles=[]: list should have at least 1 item"),
        (["profiles: [phone]"], "fleet.yaml: profiles.0=phone: input should be a valid dictionary"),
        (["profils:", PHONE], "there is no such key; did you mean 'profiles'?"),
        (
            ["colour: red", "profiles:", PHONE],
            "fleet.yaml: colour=red: there is no such key; choose from name, ",
        ),
        (
            ["profiles:", PHONE.replace("flops_per_s", "flop_per_s")],
            "fleet.yaml: profiles.phone.flop_per_s=1e9: there is no such key; did you mean 'flops_per_s'?",
        ),
        (
            ["profiles:", "- {name: phone, flops_per_s: 1}"],
            "fleet.yaml: profiles.phone.uplink_bytes_per_s=(nothing): field required; give bytes that it sends",
        ),
        (["profiles:", f"- {{{SPEEDS}}}"], "fleet.yaml: profiles.0.name=(nothing): field required"),
        (
            ["profiles:", PHONE.replace("}", ", resources: {GPU: 1}}")],
            "fleet.yaml: profiles.phone.resources={'GPU': 1}: the resource GPU is not a custom one",
        ),
        (
            ["profiles:", PHONE.replace("}", ", resources: {npu: -1}}")],
            "fleet.yaml: profiles.phone.resources.npu=-1: input should be greater than or equal to 0",
        ),
        (["profiles:", PHONE, PHONE], "fleet.yaml: profiles=phone: two profiles have this name"),
        (
            ["profiles:", PHONE.replace("}", ", share: 0}"), BOX.replace("}", ", share: 0}")],
            "fleet.yaml: profiles=(0.0, 0.0): all shares are 0; give one of them more",
        ),
        (
            ["period_s: 60", "profiles:", PHONE],
            "fleet.yaml: period_s=60.0: there is no trace whose intervals",
        ),
        (["trace: no.csv", "profiles:", PHONE], "fleet.yaml: trace=no.csv: there is no such file"),
        (
            ["trace: who.csv", "profiles:", PHONE.replace("}", ", share: 1}")],
            "fleet.yaml: profiles.phone.share=1.0: the trace says which devices are of a profile; leave it out",
        ),
        (
            ["trace: who.csv", "period_s: 60", "profiles:", PHONE],
            "fleet.yaml: period_s=60.0: the trace has no intervals that could repeat; leave it out",
        ),
        (
            ["trace: when.csv", "profiles:", PHONE.replace("}", ", available_share: 0.5}")],
            "fleet.yaml: profiles.phone.available_share=0.5: the trace says when each device is there; leave it out",
        ),
        (
            ["trace: when.csv", "period_s: 4", "profiles:", PHONE],
            "when.csv: row 1, client a: available_until_s=5: is beyond period_s=4",
        ),
        (
            ["trace: who.csv", "profiles:", BOX],
            "who.csv: row 1, client a: profile=phone: there is no such profile",
        ),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, lines: list[str], told: str) -> None:
    write(tmp_path, "client,profile", "a,phone", name="who.csv")
    write(tmp_path, "client,available_from_s,available_until_s", "a,0,5", name="when.csv")
    assert told in refusal(write(tmp_path, *lines))


@pytest.mark.parametrize("name", ["no.yaml", "no.yml", "no.csv", "no.parquet"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    line = refusal(str(tmp_path / name))
    assert line == f"fleet.name={name}: there is no such file; name a YAML fleet or a trace"


def test_a_home_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"^fleet.name=~no-such-user/f.yaml: .*; write the path out$"):
        get_fleet("~no-such-user/f.yaml")


def test_text_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_bytes("name: früh\n".encode("latin-1"))
    assert refusal(str(tmp_path / "fleet.yaml")).startswith("fleet.name=fleet.yaml: it is not YAML (")
