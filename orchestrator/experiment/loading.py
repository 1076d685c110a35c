"""Load an experiment config from YAML files, presets and dotted `KEY=VALUE` overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import apply_overrides, flatten, read_configs
from orchestrator.errors import ConfigError, UnknownKeyError
from orchestrator.experiment.config import ExperimentConfig


def load_config(sources: Sequence[Path | str] | None, overrides: Sequence[str]) -> ExperimentConfig:
    """Merge config files and presets in order (None: all defaults), then apply the overrides. Raises ConfigError."""
    return ExperimentConfig.parse(apply_overrides(read_configs(sources or ()), overrides))


def resumed_config(stored: Mapping[str, Any], overrides: Sequence[str]) -> ExperimentConfig:
    """Apply overrides to the stored config of a run. Raises ConfigError for a key that a resumed run must keep."""
    before, after = parse_stored(stored), ExperimentConfig.parse(apply_overrides(stored, overrides))
    if (changed := first_change(before, after)) is not None:
        key, old, new = changed
        problem = f"the run has {old}, and a resumed run must keep this value"
        remedy = f"start a new run, or change only {', '.join(ExperimentConfig.RESUMABLE)}"
        raise ConfigError(key, new, problem, remedy)
    return after


def parse_stored(stored: Mapping[str, Any]) -> ExperimentConfig:
    """Validate the stored config of a run. Raises ConfigError as `ExperimentConfig.parse`."""
    try:
        return ExperimentConfig.parse(stored)
    except UnknownKeyError as error:
        remedy = "use the release that started the run, or start a new run"
        raise UnknownKeyError(error.field, error.value, "this release has no such key", remedy) from error


def first_change(before: ExperimentConfig, after: ExperimentConfig) -> tuple[str, Any, Any] | None:
    """Return key, old and new value of the first difference that a resumed run does not allow; None without one."""
    old, new = flatten(before.to_dict()), flatten(after.to_dict())
    # keys of the new config first, so that an error names the key that the user gave
    for key in {**new, **old}:
        if new.get(key) != old.get(key) and not ExperimentConfig.is_resumable(key):
            return key, old.get(key), new.get(key)
    return None
