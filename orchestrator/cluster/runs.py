"""Read the status of the runs and sweeps in a storage folder from their files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from orchestrator.commands import RUN_FILE
from orchestrator.config.yaml import load_yaml
from orchestrator.formatting import counted
from orchestrator.storage.folders import SWEEP_FILE
from orchestrator.storage.lock_owner import LockOwner, lock_owner
from orchestrator.tracking.record import RoundRecord, complete_lines

State = Literal["running", "finished", "interrupted", "failed", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """The status of a run or a sweep.

    `num_done` and `num_asked` count rounds of a run, trials of a sweep. `method` of a sweep is the name of its
    search space. `value` is the last accuracy of a run, or the best value of a sweep's first metric; it is None before
    the first evaluation. `holder` is the process that has locked the folder. `why` is the error of a failed run or
    sweep. `changed_s` is the Unix time of the last change.
    """

    kind: Literal["run", "sweep"]
    name: str
    folder: Path
    state: State
    method: str
    num_done: int
    num_asked: int
    value: float | None
    holder: LockOwner | None
    why: str
    changed_s: float


def run_statuses(storage: Path, limit: int | None = None) -> list[RunStatus]:
    """Return the status of all runs and sweeps in a folder: running ones first, each group newest change first.

    With `limit`, only the newest `limit` folders and all running ones are returned.
    """
    folders = [
        *((file.parent, "run") for file in storage.glob(f"*/{RUN_FILE}")),
        *((file.parent, "sweep") for file in storage.glob(f"*/{SWEEP_FILE}")),
    ]
    folders.sort(key=lambda entry: _changed_s(entry[0]), reverse=True)
    known = [
        _run_status(folder) if kind == "run" else _sweep_status(folder)
        for number, (folder, kind) in enumerate(folders)
        if limit is None or number < limit or lock_owner(folder) is not None
    ]
    return sorted(known, key=lambda status: status.state != "running")


def _has_ended(summary: Mapping[str, Any], num_rounds: int, num_asked: int) -> bool:
    """Whether all rounds are done, or the run has stopped early after as many rounds as its summary says."""
    stopped = summary.get("stop_reason") is not None and summary.get("num_rounds") == num_rounds
    return stopped or num_rounds >= num_asked


def _run_status(folder: Path) -> RunStatus:
    config, summary = _yaml(folder / "config.yaml"), _json(folder / "summary.json")
    num_asked = int(_at(config, "training", "rounds") or 0)
    lines = complete_lines(folder / "metrics.jsonl")
    owner, failure = lock_owner(folder), _first_line(folder / "failure.txt")
    state: State = "interrupted"
    if owner is not None:
        state = "running"
    elif not config:
        state = "unreadable"
    elif summary and not summary.get("interrupted") and _has_ended(summary, len(lines), num_asked):
        state = "finished"
    elif failure:
        state = "failed"
    return RunStatus(
        kind="run",
        name=folder.name,
        folder=folder,
        state=state,
        method=str(_at(config, "algorithm", "name") or "-"),
        num_done=len(lines),
        num_asked=num_asked,
        value=_last_value(lines, "eval/accuracy"),
        holder=owner,
        why=failure if state == "failed" else "",
        changed_s=_changed_s(folder),
    )


def _sweep_status(folder: Path) -> RunStatus:
    about, summary = _json(folder / SWEEP_FILE), _json(folder / "summary.json")
    endings = [_loads(line) for line in complete_lines(folder / "endings.jsonl")]
    ended = {ending["number"]: ending.get("status") for ending in endings if "number" in ending}
    num_trials = len(complete_lines(folder / "trials.jsonl"))
    lines, owner = complete_lines(folder / "metrics.jsonl"), lock_owner(folder)
    num_failed = sum(status == "failed" for status in ended.values())
    state: State = "interrupted"
    if owner is not None:
        state = "running"
    elif not about:
        state = "unreadable"
    elif summary and not summary.get("interrupted"):
        state = "failed" if num_failed else "finished"
    best = [name for name in (_metrics(lines[-1]) if lines else {}) if name.startswith("sweep/best_")]
    return RunStatus(
        kind="sweep",
        name=folder.name,
        folder=folder,
        state=state,
        method=str(about.get("space", "-")),
        num_done=len(ended),
        num_asked=int(summary.get("num_trials") or num_trials),
        value=_last_value(lines, best[0]) if best else None,
        holder=owner,
        why=f"{counted(num_failed, 'trial')} failed, see {folder / 'failures'}" if state == "failed" else "",
        changed_s=_changed_s(folder),
    )


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").partition("\n")[0]
    except OSError:
        return ""


def _last_value(lines: list[bytes], metric: str) -> float | None:
    for line in reversed(lines):
        if metric in (metrics := _metrics(line)):
            return metrics[metric]
    return None


def _metrics(line: bytes) -> dict[str, float]:
    try:
        return RoundRecord.from_line(line).metrics
    except ValueError:
        return {}


def _changed_s(folder: Path) -> float:
    files = [folder / "metrics.jsonl", folder / RUN_FILE, folder / SWEEP_FILE]
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = load_yaml(path.read_bytes())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        return _loads(path.read_bytes())
    except OSError:
        return {}


def _loads(text: bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _at(tree: dict[str, Any], section: str, key: str) -> Any:
    inner = tree.get(section)
    return inner.get(key) if isinstance(inner, dict) else None
