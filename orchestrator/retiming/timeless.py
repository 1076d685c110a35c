"""Which runs would have been the same on other devices: those in which neither time nor device decides anything."""

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


def require_timeless(config: ExperimentConfig, fleet: Fleet, failures: Path) -> None:
    """Raise ConfigError, naming the key, for a run on this fleet that would have been another one elsewhere.

    `failures` is its `failures.jsonl`.
    """
    for field, value, problem in _obstacles(config, fleet, failures):
        raise ConfigError(field, value, f"{problem}, so that the run cannot be retimed", _REMEDY)


def comes_and_goes(fleet: Fleet) -> str | None:
    """Why it depends on the time which devices of this fleet can take part and answer; None where all always do."""
    if fleet.devices is not None and fleet.devices.intervals is not None:
        return "its trace says when each device is there"
    for profile in fleet.profiles:
        if profile.available_share < 1.0:
            return f"devices {profile.name} are there only at times"
        if profile.dropout > 0.0:
            return f"devices {profile.name} may vanish in a task"
    return None


def _obstacles(config: ExperimentConfig, fleet: Fleet, failures: Path) -> Iterator[tuple[str, object, str]]:
    """(key, value, problem) of all that ties the run to its devices and their speed."""
    if config.asynchrony.kind != "none":
        yield "asynchrony.kind", config.asynchrony.kind, "updates count in the order in which they arrive"
    if config.fleet.deadline_s is not None:
        yield "fleet.deadline_s", config.fleet.deadline_s, "only updates that are fast enough count"
    if config.fleet.over_selection > 1.0:
        yield "fleet.over_selection", config.fleet.over_selection, "only the fastest updates count"
    if config.selection.kind == "available":
        yield "selection.kind", config.selection.kind, "the time decides who is drawn"
    if config.sparsity.device_levels:
        levels = dict(config.sparsity.device_levels)
        yield "sparsity.device_levels", levels, "its device decides what a client trains"
    method = load_algorithm(config.algorithm.name)
    if method.depends_on_devices(config.algorithm):
        problem = "under its options a client's device decides what it trains"
        yield "algorithm.name", config.algorithm.name, problem
    if problem := comes_and_goes(fleet) or "":
        yield "fleet.name", config.fleet.name, problem
    causes = (json.loads(line)["cause"] for line in complete_lines(failures))
    if any(cause.startswith(DeviceMemoryError.__name__) for cause in causes):
        problem = "clients whose devices had too little memory were left out"
        yield "fleet.name", config.fleet.name, problem
