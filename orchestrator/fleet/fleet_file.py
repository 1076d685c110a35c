"""Fleets from files: a YAML file with profiles and, if it names one, a trace; or a trace alone."""

from pathlib import Path

import numpy as np
import yaml

from orchestrator.config.yaml import load_settings
from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.fleet_entries import FleetFile, ProfileEntry, validated
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.trace import read_trace


def read_fleet(file: Path) -> Fleet:
    """The fleet that a .yaml or .yml file, or a trace in a .csv or .parquet file, describes. Raises ConfigError."""
    try:
        file = file.expanduser()
    except RuntimeError as error:
        raise ConfigError("fleet.name", file, str(error), "write the path out") from error
    if not file.is_file():
        raise ConfigError("fleet.name", file, "there is no such file", "name a YAML fleet or a trace")
    return _from_yaml(file) if file.suffix in (".yaml", ".yml") else _from_trace(file)


def _from_trace(file: Path) -> Fleet:
    devices = read_trace(file)
    assert devices.speeds is not None
    flops, up, down = (float(x) for x in np.median(devices.speeds, axis=0))
    typical = DeviceProfile(name="trace", flops_per_s=flops, uplink_bytes_per_s=up, downlink_bytes_per_s=down)
    return Fleet(file.stem, f"{len(devices)} devices of a trace", (typical,), devices=devices)


def _from_yaml(file: Path) -> Fleet:
    described = validated(FleetFile, _load(file), file)
    entries = [
        validated(ProfileEntry, tree, file, f"profiles.{tree.get('name', number)}")
        for number, tree in enumerate(described.profiles)
    ]
    names = [entry.name for entry in entries]
    if twice := {name for name in names if names.count(name) > 1}:
        problem = "two profiles have this name"
        raise ConfigError(f"{file}: profiles", min(twice), problem, "give each its own")
    shares = tuple(entry.share for entry in entries)
    if not any(shares):
        raise ConfigError(f"{file}: profiles", shares, "all shares are 0", "give one of them more")
    return Fleet(
        name=described.name or file.stem,
        summary=described.summary,
        profiles=tuple(entry.profile() for entry in entries),
        shares=shares,
        devices=_devices(file, described, entries),
    )


def _devices(file: Path, described: FleetFile, entries: list[ProfileEntry]) -> Devices | None:
    if described.trace is None:
        if described.period_s is not None:
            problem = "there is no trace whose intervals could repeat"
            raise ConfigError(
                f"{file}: period_s", described.period_s, problem, "leave it out, or add `trace:`"
            )
        return None
    for entry in entries:
        if "share" in entry.model_fields_set:
            problem = "the trace says which devices are of a profile"
            raise ConfigError(f"{file}: profiles.{entry.name}.share", entry.share, problem, "leave it out")
    trace = file.parent / described.trace
    if not trace.is_file():
        raise ConfigError(f"{file}: trace", trace, "there is no such file", "name a CSV or Parquet file")
    devices = read_trace(trace, [entry.name for entry in entries], described.period_s)
    if devices.intervals is None:
        if described.period_s is not None:
            problem = "the trace has no intervals that could repeat"
            raise ConfigError(f"{file}: period_s", described.period_s, problem, "leave it out")
        return devices
    for entry in entries:
        if entry.available_share < 1.0:
            field = f"{file}: profiles.{entry.name}.available_share"
            problem = "the trace says when each device is there"
            raise ConfigError(field, entry.available_share, problem, "leave it out")
    return devices


def _load(file: Path) -> object:
    try:
        return load_settings(file.read_bytes())
    except OSError as error:
        problem = f"it cannot be read ({error.strerror})"
        raise ConfigError("fleet.name", file, problem, "name a YAML fleet") from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError("fleet.name", file, f"it is not YAML ({error})", "correct it") from error
