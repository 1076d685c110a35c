"""From a YAML file and dotted `KEY=VALUE` overrides to a checked config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import apply_overrides, flatten, read_yaml
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig


def load_config(file: Path | None, overrides: Sequence[str]) -> ExperimentConfig:
    """Read the file (None: all defaults), apply the overrides in order. Raises ConfigError."""
    return ExperimentConfig.parse(apply_overrides(read_yaml(file) if file else {}, overrides))


def resumed_config(stored: Mapping[str, Any], overrides: Sequence[str]) -> ExperimentConfig:
    """A run's stored config with overrides that leave its past valid. Raises ConfigError for any other."""
    allowed = ExperimentConfig.RESUMABLE
    before, after = ExperimentConfig.parse(stored), ExperimentConfig.parse(apply_overrides(stored, overrides))
    old, new = flatten(before.to_dict()), flatten(after.to_dict())
    # keys of the new config first: they name what was asked for, where names were added, changed or left out
    for key in {**new, **old}:
        value = new.get(key)
        if value != old.get(key) and not any(key == a or key.startswith(f"{a}.") for a in allowed):
            problem = f"the run has {old.get(key)}, and a resumed run keeps it"
            remedy = f"start a new run, or change only {', '.join(allowed)}"
            raise ConfigError(key, value, problem, remedy)
    return after
