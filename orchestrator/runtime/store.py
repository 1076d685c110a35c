"""A run's folder: its config, its commits and its logs.

runs/<run_id>/config.yaml      the resolved config
              run.json         run id, fingerprints, package versions, git commit
              commits/         see checkpoint.py
              metrics.jsonl    one committed RoundRecord a line; trackers follow this file
              events.jsonl     one client's participation a line; events.parquet is made of it at the end
              failures.jsonl   one failed task a line, with its traceback
              partition.parquet  model/  tracking.json  summary.json
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.runtime.checkpoint import Commit, CommitFolder, Restored, Templates, write_durably
from orchestrator.runtime.client_states import ClientStates
from orchestrator.runtime.committed_states import CACHE_BYTES

#: what makes a folder in the storage a sweep's, whose trials' folders are in it
SWEEP_FILE = "sweep.json"
LOGS = ("metrics.jsonl", "events.jsonl", "failures.jsonl")


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a run's or a sweep's folder for this process. Raises CheckpointError when another one has it."""
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(f"{folder} is in use by another process; wait until it ends") from error
        yield


class RunStore:
    """Reads and writes one run's folder."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` bounds the memory for client states that are committed."""
        self.folder = folder
        self._commits = CommitFolder(folder / "commits", cache_bytes=cache_bytes)

    @property
    def run_id(self) -> str:
        """The run's name, which is the folder's."""
        return self.folder.name

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run for this process. Raises CheckpointError when another one has it."""
        return held(self.folder)

    def describe(self, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write config.yaml and run.json."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_durably(self.folder / "config.yaml", text.encode())
        write_durably(self.folder / "run.json", json.dumps(dict(about), indent=2).encode())

    def about(self) -> dict[str, Any]:
        """What `describe` wrote to run.json. Raises CheckpointError when it cannot be read."""
        return self._mapping("run.json", json.loads)

    def config(self) -> dict[str, Any]:
        """What `describe` wrote to config.yaml. Raises CheckpointError when it cannot be read."""
        return self._mapping("config.yaml", yaml.safe_load)

    def _mapping(self, name: str, load: Callable[[bytes], Any]) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = load(path.read_bytes())
        except (OSError, ValueError, yaml.YAMLError) as error:
            problem = " ".join(str(error).split())
            raise CheckpointError(f"{path} cannot be read ({problem}); the run cannot be resumed") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} does not hold a mapping; the run cannot be resumed")
        return content

    def commit(self, commit: Commit, log_lines: Mapping[str, Iterable[str]]) -> None:
        """Append to the logs, then commit; both or neither count when a run is resumed."""
        lengths = {name: self._append(name, lines) for name, lines in log_lines.items()}
        self._commits.write(replace(commit, log_bytes=lengths))

    def client_states(self, template: Any) -> ClientStates:
        """Those of a new run: none yet. `template` is a fresh client state."""
        return self._commits.client_states(template)

    def restore(self, templates: Templates) -> Restored | None:
        """The last commit, with the logs cut back to where they stood; None for a run without any."""
        commit = self._commits.last(templates)
        metrics = self.folder / "metrics.jsonl"
        if commit is None and metrics.exists() and metrics.read_bytes().count(b"\n") > 1:
            raise CheckpointError(
                f"{self.folder} has metrics but its commits are gone; restore its commits folder"
            )
        for name in LOGS:
            self._cut(name, commit.log_bytes.get(name, 0) if commit else 0)
        return commit

    def _append(self, name: str, lines: Iterable[str]) -> int:
        with (self.folder / name).open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _cut(self, name: str, length: int) -> None:
        path = self.folder / name
        path.touch()
        if path.stat().st_size < length:
            raise CheckpointError(f"{path} is shorter than its last commit says; the run cannot be resumed")
        os.truncate(path, length)


def find_run(name: str, storage: Path) -> Path:
    """The folder of a run named by its id, a sweep's trial too, or by a path. Raises ConfigError when there is none."""
    for folder in (
        Path(name),
        storage / name,
        *(file.parent / name for file in storage.glob(f"*/{SWEEP_FILE}")),
    ):
        if (folder / "run.json").is_file():
            return folder.resolve()
    problem = f"there is no such run, neither at that path nor in {storage}"
    raise ConfigError("RUN", name, problem, "name a run's folder, or set runtime.storage")
