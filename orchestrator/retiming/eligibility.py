"""Decides whether a run can be retimed: only if neither time nor devices influenced its result."""

import json
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.execution.device_memory import DeviceMemoryError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.methods import load_algorithm
from orchestrator.fleet.fleets import Fleet
from orchestrator.tracking.record import complete_lines

_REMEDY = "run the experiment itself on the other fleet"


def require_retimable(config: ExperimentConfig, fleet: Fleet, failures: Path) -> None:
    """Raise ConfigError, with the config key, when the result of a run depends on its fleet.

    `fleet` is the fleet that the run used, and `failures` is the run's `failures.jsonl`.
    """
    for field, value, problem in _obstacles(config, fleet, failures):
        raise ConfigError(field, value, f"{problem}, so the run cannot be retimed", _REMEDY)


def availability_limit(fleet: Fleet) -> str | None:
    """Say why devices of the fleet are not always available; None when all devices always are."""
    if fleet.devices is not None and fleet.devices.intervals is not None:
        return "the fleet's trace says when each device is available"
    for profile in fleet.profiles:
        if profile.available_share < 1.0:
            return f"devices {profile.name} are available only part of the time"
        if profile.dropout > 0.0:
            return f"devices {profile.name} may vanish during a task"
    return None


def _obstacles(config: ExperimentConfig, fleet: Fleet, failures: Path) -> Iterator[tuple[str, object, str]]:
    """Yield (key, value, problem) for each setting or event that ties the result to the devices or their speed."""
    if config.asynchrony.kind != "none":
        yield "asynchrony.kind", config.asynchrony.kind, "the server applies updates in order of arrival"
    if config.fleet.deadline_s is not None:
        yield "fleet.deadline_s", config.fleet.deadline_s, "the server uses only updates before the deadline"
    if config.fleet.over_selection > 1.0:
        yield "fleet.over_selection", config.fleet.over_selection, "the server uses only the fastest updates"
    if config.selection.kind == "available" or config.selection.learns:
        yield "selection.kind", config.selection.kind, "the cohort depends on the emulated time"
    if config.sparsity.device_levels:
        levels = dict(config.sparsity.device_levels)
        yield "sparsity.device_levels", levels, "a client's sparsity depends on its device"
    method = load_algorithm(config.algorithm.name)
    if method.depends_on_devices(config.algorithm):
        problem = "with these options, a client's model depends on its device"
        yield "algorithm.name", config.algorithm.name, problem
    if problem := availability_limit(fleet) or "":
        yield "fleet.name", config.fleet.name, problem
    causes = (json.loads(line)["cause"] for line in complete_lines(failures))
    if any(cause.startswith(DeviceMemoryError.__name__) for cause in causes):
        problem = "some clients failed because their devices have too little memory"
        yield "fleet.name", config.fleet.name, problem
