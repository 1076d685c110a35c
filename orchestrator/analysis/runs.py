"""A run as a comparison sees it: its config, its tags and its committed rounds, read from its folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from orchestrator.config.overrides import flatten
from orchestrator.errors import CheckpointError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.storage.folders import RUN_FILE, is_sweep
from orchestrator.tracking.record import RoundRecord, committed_records

Status = Literal["finished", "stopped", "unfinished"]

#: tags that a run without them gets from its config
_TAG_KEYS = {"method": "algorithm.name", "fleet": "fleet.name", "data": "data.name", "seed": "seed"}
#: libyaml's where there is one: a sweep has hundreds of configs, and it reads ten times as fast
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRun:
    """One run. `run_id` is its folder's name, `name` what to show of it, `sweep` the sweep it is a trial of.

    `config` is dotted; keys that an older run lacks, other than its method's own, have today's defaults.
    A run is "stopped" when it was interrupted or ended early, "unfinished" when it still goes on or was
    killed. `superseded_by` names the run that went on in place of this abandoned one (None: it counts).
    `fingerprint` is run.json's, empty when that has none.
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

    @property
    def method(self) -> str:
        """The method's name."""
        return self.tags["method"]

    @property
    def seed(self) -> int:
        """The root seed."""
        return int(self.config["seed"])


def read_head(folder: Path) -> ComparedRun:
    """A run without its rounds, from run.json and config.yaml. Raises CheckpointError for unreadable ones."""
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
    """The run with its committed rounds and its status. Raises CheckpointError for logs that are damaged."""
    records = tuple(committed_records(run.folder))
    return replace(run, records=records, status=_status(run.folder / "summary.json", len(records)))


def mlflow_run_id(folder: Path) -> str | None:
    """The id that MLflow has for the run in a folder; None when it has none, or when that is not readable."""
    try:
        noted = json.loads((folder / "tracking.json").read_bytes())
    except (OSError, ValueError):
        return None
    found = noted.get("mlflow_run_id") if isinstance(noted, dict) else None
    return found if isinstance(found, str) else None


def _status(summary: Path, num_rounds: int) -> Status:
    """A summary counts until the run it sums up goes on: it is written again only at the end."""
    if not summary.is_file():
        return "unfinished"
    content = _mapping(summary, json.loads)
    if content.get("num_rounds", num_rounds) != num_rounds:
        return "unfinished"
    return "stopped" if content.get("interrupted") else "finished"


def _with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    missing = {
        key: value
        for key, value in _defaults().items()
        if key not in config and not any(own.startswith(f"{key}.") for own in config)
    }
    return {**config, **missing}


@cache
def _defaults() -> Mapping[str, Any]:
    """Today's value of every key that is not a method's own."""
    return flatten(ExperimentConfig().to_dict())


def _yaml(content: bytes) -> Any:
    return yaml.load(content, Loader=_SafeLoader)


def _mapping(path: Path, load: Callable[[bytes], Any]) -> dict[str, Any]:
    try:
        content = load(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path} cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} does not hold a mapping")
    return content
