"""A run's folder: its config, its commits and its logs.

runs/<run_id>/config.yaml      the resolved config
              run.json         run id, fingerprints, package versions, git commit
              commits/         see checkpoint.py
              metrics.jsonl    one committed RoundRecord a line; trackers follow this file
              events.jsonl     one client's participation a line; events.parquet is made of it at the end
              failures.jsonl   one failed task a line, with its traceback
              failure.txt      why the last try failed; not there after one that did not
              lock             host and process id of whoever holds the folder, as JSON
              partition.parquet  model/  tracking.json  summary.json
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from orchestrator.config.yaml import load_yaml
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.storage.atomic_write import storing, write_durably
from orchestrator.storage.checkpoint import (
    Checkpoint,
    CheckpointStore,
    RestoredRun,
    Templates,
    committing,
)
from orchestrator.storage.client_states import ClientStates
from orchestrator.storage.folders import RUN_FILE, find_folder, is_run
from orchestrator.storage.lock import held
from orchestrator.storage.saved_states import CACHE_BYTES

LOGS = ("metrics.jsonl", "events.jsonl", "failures.jsonl")
#: what run.json says in groups; of the others `verify_run` asks
_GROUPS = ("packages", "tags")


class RunStore:
    """Reads and writes one run's folder."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` bounds the memory for client states that are committed."""
        self.folder = folder
        self._commits = CheckpointStore(folder / "commits", cache_bytes=cache_bytes)

    @property
    def run_id(self) -> str:
        """The run's name, which is the folder's."""
        return self.folder.name

    @property
    def skipped_checkpoint(self) -> str | None:
        """Which commit `restore` did not use, why, and from where the run goes on; None where it used the newest."""
        return self._commits.skipped_checkpoint

    def locked(self) -> AbstractContextManager[None]:
        """Hold the run for this process. Raises CheckpointError when another one has it."""
        return held(self.folder)

    @contextmanager
    def recording_failure(self) -> Iterator[None]:
        """Keep what the block fails of in failure.txt, one line for whoever looks; a new try begins without it."""
        path = self.folder / "failure.txt"
        with storing(path):
            path.unlink(missing_ok=True)
        try:
            yield
        except Exception as error:
            with suppress(OSError):
                path.write_text(
                    f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n"
                )
            raise

    def describe(self, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write config.yaml and run.json."""
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_durably(self.folder / "config.yaml", text.encode())
        write_durably(self.folder / RUN_FILE, json.dumps(dict(about), indent=2).encode())

    def about(self) -> dict[str, Any]:
        """What `describe` wrote to run.json. Raises CheckpointError when it cannot be read."""
        about = self._mapping(RUN_FILE, json.loads)
        for key in _GROUPS:
            if not isinstance(about.get(key, {}), dict):
                raise CheckpointError(
                    f"{self.folder / 'run.json'}: {key} is no mapping; the run cannot be resumed"
                )
        return about

    def config(self) -> dict[str, Any]:
        """What `describe` wrote to config.yaml. Raises CheckpointError when it cannot be read."""
        return self._mapping("config.yaml", load_yaml)

    def _mapping(self, name: str, load: Callable[[bytes], Any]) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = load(path.read_bytes())
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            problem = shorten(str(error), 300, placeholder="...")
            raise CheckpointError(f"{path} cannot be read ({problem}); the run cannot be resumed") from error
        if not isinstance(content, dict):
            raise CheckpointError(f"{path} does not hold a mapping; the run cannot be resumed")
        return content

    def commit(self, commit: Checkpoint, log_lines: Mapping[str, Iterable[str]]) -> None:
        """Append to the logs, then commit; both or neither count when a run is resumed.

        Raises CheckpointError when the file system refuses a file: which, why and what to do.
        """
        added = {name: "".join(f"{line}\n" for line in lines).encode() for name, lines in log_lines.items()}
        with committing(commit.round_idx):
            lengths = {name: self._append(name, data) for name, data in added.items()}
        digests = {name: sha256(data).hexdigest() for name, data in added.items()}
        self._commits.write(replace(commit, log_bytes=lengths, log_sha256=digests))

    def client_states(self, template: Any) -> ClientStates:
        """Those of a new run: none yet. `template` is a fresh client state."""
        return self._commits.client_states(template)

    def restore(self, templates: Templates) -> RestoredRun | None:
        """The last commit that is whole, with the logs cut back to where they stood; None for a run without any.

        `skipped_checkpoint` then says whether the newest one was damaged. Raises as CheckpointStore.last does.
        """
        commit = self._commits.last(templates, self.folder)
        if commit is None and self.skipped_checkpoint is None and self._has_metrics():
            raise CheckpointError(
                f"{self.folder} has metrics but its commits are gone; restore its commits folder"
            )
        for name in LOGS:
            self._cut(name, commit.log_bytes.get(name, 0) if commit else 0)
        self._commits.set_aside()
        return commit

    def _has_metrics(self) -> bool:
        """Whether more was logged than the round whose commit a kill may have cut short."""
        metrics = self.folder / "metrics.jsonl"
        return metrics.exists() and metrics.read_bytes().count(b"\n") > 1

    def _append(self, name: str, data: bytes) -> int:
        path = self.folder / name
        with storing(path), path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _cut(self, name: str, length: int) -> None:
        path = self.folder / name
        with storing(path):
            path.touch()
            os.truncate(path, length)


def find_run(name: str, storage: Path) -> Path:
    """The folder of a run named by its id, a sweep's trial too, or by a path. Raises ConfigError when there is none."""
    if (folder := find_folder(name, storage, is_run)) is not None:
        return folder
    problem = f"there is no such run, neither at that path nor in {storage}"
    raise ConfigError("RUN", name, problem, "name a run's folder, or set runtime.storage")
