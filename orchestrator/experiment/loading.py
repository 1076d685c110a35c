"""Load an experiment config from YAML files, presets and dotted `KEY=VALUE` overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import apply_overrides, flatten, read_configs
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig


def load_config(sources: Sequence[Path | str] | None, overrides: Sequence[str]) -> ExperimentConfig:
    """Merge config files and presets in order (None: all defaults), then apply the overrides. Raises ConfigError."""
    return ExperimentConfig.parse(apply_overrides(read_configs(sources or ()), overrides))


def resumed_config(stored: Mapping[str, Any], overrides: Sequence[str]) -> ExperimentConfig:
    """Apply overrides to the stored config of a run. Raises ConfigError for a key that a resumed run must keep."""
    allowed = ExperimentConfig.RESUMABLE
    before, after = ExperimentConfig.parse(stored), ExperimentConfig.parse(apply_overrides(stored, overrides))
    old, new = flatten(before.to_dict()), flatten(after.to_dict())
    # keys of the new config first, so that the error names the key that the user gave
    for key in {**new, **old}:
        value = new.get(key)
        if value != old.get(key) and not any(key == a or key.startswith(f"{a}.") for a in allowed):
            problem = f"the run has {old.get(key)}, and a resumed run must keep this value"
            remedy = f"start a new run, or change only {', '.join(allowed)}"
            raise ConfigError(key, value, problem, remedy)
    return after
