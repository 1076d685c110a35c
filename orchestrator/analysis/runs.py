"""Reads a run for a comparison: config, tags and committed records, from the run's folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from orchestrator.commands import RUN_FILE
from orchestrator.config.overrides import flatten
from orchestrator.errors import CheckpointError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.storage.client_scores import CLIENT_SCORES
from orchestrator.storage.folders import is_sweep
from orchestrator.tracking.record import RoundRecord, committed_records

Status = Literal["finished", "stopped", "unfinished"]

#: tag -> config key that gives the tag of a run without this tag
_TAG_KEYS = {"method": "algorithm.name", "fleet": "fleet.name", "data": "data.name", "seed": "seed"}
#: libyaml's loader if available: it is ten times as fast, and a sweep may have hundreds of configs
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """A run in a comparison.

    - `run_id`: name of the run's folder.
    - `name`: display name.
    - `config`: values by dotted key. Keys that an older run does not have get today's defaults, except method options.
    - `sweep`: id of the sweep that contains the run; None outside of sweeps.
    - `status`: "stopped" after an interruption or an early stop, "unfinished" while the run continues or after a kill.
    - `superseded_by`: id of the run that replaced this run; None for a current run.
    - `fingerprint`: the fingerprint in run.json; empty without a fingerprint.
    - `client_accuracy`: accuracy of the model that each client uses, on the client's own test part, in the last
      evaluation; empty for runs of earlier releases.
    """

    run_id: str
    name: str
    folder: Path
    config: Mapping[str, Any]
    tags: Mapping[str, str]
    sweep: str | None
    status: Status
    superseded_by: str | None
    fingerprint: Mapping[str, str]
    records: Sequence[RoundRecord]
    client_accuracy: Sequence[float] = ()

    @property
    def method(self) -> str:
        """The method's name."""
        return self.tags["method"]

    @property
    def seed(self) -> int:
        """The root seed."""
        return int(self.config["seed"])


def read_head(folder: Path) -> ComparedRun:
    """Read a run without its records from run.json and config.yaml. Raises CheckpointError for unreadable files."""
    about = _mapping(folder / RUN_FILE, json.loads)
    config = _with_defaults(flatten(_mapping(folder / "config.yaml", _yaml)))
    own_tags = about.get("tags") or {}
    sweep = folder.parent.name if is_sweep(folder.parent) else None
    return ComparedRun(
        run_id=folder.name,
        name=str(about.get("name") or folder.name),
        folder=folder,
        config=config,
        tags={tag: str(config[key]) for tag, key in _TAG_KEYS.items()}
        | {str(tag): str(value) for tag, value in own_tags.items()},
        sweep=sweep,
        status="unfinished",
        superseded_by=about.get("superseded_by"),
        fingerprint=about.get("fingerprint") or {},
        records=(),
    )


def with_records(run: ComparedRun) -> ComparedRun:
    """Return the run with its committed records and its status. Raises CheckpointError for damaged logs."""
    records = tuple(committed_records(run.folder))
    return replace(
        run,
        records=records,
        status=_status(run.folder / "summary.json", len(records)),
        client_accuracy=_client_accuracy(run.folder / CLIENT_SCORES),
    )


def mlflow_run_id(folder: Path) -> str | None:
    """Return the MLflow run id of the run in a folder; None if tracking.json is missing, unreadable or has no id."""
    try:
        noted = json.loads((folder / "tracking.json").read_bytes())
    except (OSError, ValueError):
        return None
    found = noted.get("mlflow_run_id") if isinstance(noted, dict) else None
    return found if isinstance(found, str) else None


def _client_accuracy(path: Path) -> tuple[float, ...]:
    if not path.is_file():
        return ()
    scores = _mapping(path, json.loads).get("scores", {})
    return tuple((scores.get("personal/accuracy") or {}).values())


def _status(summary: Path, num_rounds: int) -> Status:
    """Return the status from the summary, which is outdated if the run has committed more rounds since then."""
    if not summary.is_file():
        return "unfinished"
    content = _mapping(summary, json.loads)
    if content.get("num_rounds", num_rounds) != num_rounds:
        return "unfinished"
    return "stopped" if content.get("interrupted") else "finished"


def _with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    missing = {
        key: value
        for key, value in default_values().items()
        if key not in config and not any(own.startswith(f"{key}.") for own in config)
    }
    return {**config, **missing}


@cache
def default_values() -> Mapping[str, Any]:
    """Return the default of every config key, without the options of methods."""
    return flatten(ExperimentConfig().to_dict())


def _yaml(content: bytes) -> Any:
    return yaml.load(content, Loader=_SafeLoader)


def _mapping(path: Path, load: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        content = load(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"cannot read {path} ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not contain a mapping")
    return content
