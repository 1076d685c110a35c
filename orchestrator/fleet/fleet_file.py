"""Reads a fleet from a file: a YAML file with profiles and an optional trace, or a trace alone."""

from pathlib import Path

import numpy as np
import yaml

from orchestrator.config.yaml import load_settings
from orchestrator.errors import ConfigError
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.fleet_entries import FleetFile, ProfileEntry, validate_section
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.trace import read_trace
from orchestrator.formatting import counted
from orchestrator.plugins.loading import file_place
from orchestrator.plugins.source_files import SourceFiles


def read_fleet(name: str) -> Fleet:
    """Read a fleet from a .yaml or .yml file, or from a trace in a .csv or .parquet file. Raises ConfigError."""
    try:
        file = file_place(name)
    except RuntimeError as error:
        raise ConfigError("fleet.name", name, str(error), "write the full path") from error
    if not file.is_file():
        raise ConfigError("fleet.name", name, f"there is no file {file}", "name a YAML fleet or a trace")
    return _from_yaml(file) if _is_yaml(file) else _from_trace(file)


def read_files(name: str) -> SourceFiles:
    """Return the files of a valid fleet: the file itself, and the trace that it names in its own folder."""
    file = file_place(name)
    files = {file.name: file.read_bytes()}
    if _is_yaml(file) and (trace := validate_section(FleetFile, _load(file), file).trace) is not None:
        path = (file.parent / trace).resolve()
        if path.is_relative_to(file.parent):
            files[path.relative_to(file.parent).as_posix()] = path.read_bytes()
    return SourceFiles(name, file, files)


def _is_yaml(file: Path) -> bool:
    return file.suffix in (".yaml", ".yml")


def _from_trace(file: Path) -> Fleet:
    devices = read_trace(file)
    assert devices.speeds is not None
    flops, up, down = (float(x) for x in np.median(devices.speeds, axis=0))
    typical = DeviceProfile(name="trace", flops_per_s=flops, uplink_bytes_per_s=up, downlink_bytes_per_s=down)
    return Fleet(file.stem, f"{counted(len(devices), 'device')} of a trace", (typical,), devices=devices)


def _from_yaml(file: Path) -> Fleet:
    content = validate_section(FleetFile, _load(file), file)
    entries = [
        validate_section(ProfileEntry, tree, file, f"profiles.{tree.get('name', number)}")
        for number, tree in enumerate(content.profiles)
    ]
    names = [entry.name for entry in entries]
    if duplicates := {name for name in names if names.count(name) > 1}:
        problem = "two profiles have this name"
        raise ConfigError(f"{file}: profiles", min(duplicates), problem, "give each profile another name")
    shares = tuple(entry.share for entry in entries)
    if not any(shares):
        raise ConfigError(f"{file}: profiles", shares, "all shares are 0", "give one profile a share above 0")
    return Fleet(
        name=content.name or file.stem,
        summary=content.summary,
        profiles=tuple(entry.profile() for entry in entries),
        shares=shares,
        devices=_devices(file, content, entries),
    )


def _devices(file: Path, content: FleetFile, entries: list[ProfileEntry]) -> Devices | None:
    """Read the trace that the fleet file names (None: it names no trace). Raises ConfigError."""
    if content.trace is None:
        if content.period_s is not None:
            problem = "the fleet has no trace, so no intervals can repeat"
            raise ConfigError(
                f"{file}: period_s", content.period_s, problem, "remove this key, or add `trace:`"
            )
        return None
    for entry in entries:
        if "share" in entry.model_fields_set:
            problem = "the trace assigns the profiles to the devices"
            raise ConfigError(f"{file}: profiles.{entry.name}.share", entry.share, problem, "remove this key")
    trace = file.parent / content.trace
    if not trace.is_file():
        raise ConfigError(f"{file}: trace", trace, "there is no such file", "name a CSV or Parquet file")
    devices = read_trace(trace, [entry.name for entry in entries], content.period_s)
    if devices.intervals is None:
        if content.period_s is not None:
            problem = "the trace has no intervals of availability, so that the key has no effect"
            raise ConfigError(f"{file}: period_s", content.period_s, problem, "remove this key")
        return devices
    for entry in entries:
        if entry.available_share < 1.0:
            field = f"{file}: profiles.{entry.name}.available_share"
            problem = "the trace gives the intervals in which each device is available"
            raise ConfigError(field, entry.available_share, problem, "remove this key")
    return devices


def _load(file: Path) -> object:
    try:
        return load_settings(file.read_bytes())
    except OSError as error:
        problem = f"the file cannot be read ({error.strerror})"
        raise ConfigError("fleet.name", file, problem, "name a readable YAML file") from error
    except (yaml.YAMLError, ValueError) as error:
        problem = f"the file is not valid YAML ({error})"
        raise ConfigError("fleet.name", file, problem, "correct the file") from error
