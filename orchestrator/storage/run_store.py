"""The folder of one run: its description, checkpoints, logs and lock.

runs/<run_id>/config.yaml        the resolved config
              run.json           run id, fingerprints, package versions, git commit
              commits/           the checkpoints, see checkpoint_store.py
              metrics.jsonl      one committed RoundRecord a line; trackers follow this file
              events.jsonl       one participation of a client a line; the run converts it to events.parquet at its end
              sources/           the user's files that the config names, see sources.py
              failures.jsonl     one failed task a line, with its traceback
              failure.txt        why the last attempt failed; absent after an attempt that did not fail
              lock               host and process id of the process that locks the folder, as JSON
              partition.parquet  model/  tracking.json  summary.json
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.atomic_write import explained_write, replace_file
from orchestrator.config.formats import CONFIG_FORMATS, ConfigFormats
from orchestrator.errors import CheckpointError, RequestError, hide_passwords
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, RestoredRun, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore, name_round_in_errors
from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.pointer import Pointer
from orchestrator.storage.checkpoints.saved_states import CACHE_BYTES
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.log_repair import repair_logs
from orchestrator.storage.run_description import (
    change_config,
    read_about,
    read_config,
    read_stored_config,
    write_about,
    write_description,
)
from orchestrator.storage.run_logs import append_to_logs, has_several_rounds, log_lengths, truncate_logs


class RunStore:
    """Reads and writes the folder of one run."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` limits the memory for client states that are already on disk."""
        self.folder = folder
        self._checkpoints = CheckpointStore(folder / "commits", cache_bytes=cache_bytes)
        self._has_started = False
        self._repairs: tuple[str, ...] = ()

    @property
    def run_id(self) -> str:
        """The id of the run, which is the name of its folder."""
        return self.folder.name

    @property
    def skipped_checkpoint(self) -> str | None:
        """Why `restore` skipped the newest checkpoint, and after which round the run resumes; None if not skipped."""
        return self._checkpoints.skipped_checkpoint

    @property
    def damage_notes(self) -> tuple[str, ...]:
        """The damage that `restore` found in checkpoints and logs, with its effects: one line for each file."""
        return (*((self.skipped_checkpoint,) if self.skipped_checkpoint else ()), *self._repairs)

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder for this process. Raises CheckpointError when another process has locked it."""
        return locked_folder(self.folder)

    @contextmanager
    def recording_failure(self) -> Iterator[None]:
        """Write one line to failure.txt when the block raises, unless the block rejects the request before `accept`."""
        try:
            yield
        except Exception as error:
            if isinstance(error, RequestError) and not self._has_started:
                raise
            with suppress(OSError):
                line = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}\n"
                replace_file(self.folder / "failure.txt", hide_passwords(line).encode())
            raise

    def start_attempt(self, changed_values: Mapping[str, Any]) -> None:
        """Start an attempt that passed all checks: change the config, and delete the failure of the last attempt.

        `changed_values` are values by dotted key.
        """
        change_config(self.folder, changed_values)
        path = self.folder / "failure.txt"
        with explained_write(path):
            path.unlink(missing_ok=True)
        self._has_started = True

    def describe(self, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Write config.yaml and run.json."""
        self._make_folder()
        write_description(self.folder, config, about)

    def describe_again(self, about: Mapping[str, Any]) -> None:
        """Write run.json, and leave config.yaml as it is."""
        write_about(self.folder, about)

    def about(self) -> dict[str, Any]:
        """Return the content of run.json. Raises CheckpointError when run.json cannot be read."""
        return read_about(self.folder)

    def config(self, formats: ConfigFormats = CONFIG_FORMATS) -> dict[str, Any]:
        """Return the config in the latest of `formats`. Raises as `read_config`."""
        return read_config(self.folder, formats)

    def stored_config(self) -> dict[str, Any]:
        """Return the config in the run's own format. Raises CheckpointError when config.yaml cannot be read."""
        return read_stored_config(self.folder)

    def commit(self, checkpoint: Checkpoint, log_lines: Mapping[str, Iterable[str]]) -> None:
        """Append to the logs, then write the checkpoint; a resumed run sees both or neither.

        Raises CheckpointError when the file system rejects a write. The logs then lose the lines of this round again.
        """
        self._make_folder()
        before = log_lengths(self.folder)
        try:
            with name_round_in_errors(checkpoint.round_idx):
                lengths, digests = append_to_logs(self.folder, log_lines)
            self._checkpoints.write(replace(checkpoint, log_bytes=lengths, log_sha256=digests))
        except CheckpointError:
            if not self._checkpoints.has(checkpoint.round_idx):
                with suppress(CheckpointError):  # report the first error, not the failed clean-up
                    truncate_logs(self.folder, before)
            raise

    def client_states(self, template: Any) -> ClientStates:
        """Return the client states of a new run: none yet. `template` is a new client state."""
        return self._checkpoints.client_states(template)

    def restore(self, templates: Templates) -> RestoredRun | None:
        """Return the run at its newest valid checkpoint and truncate the logs to it; None when there is none.

        `damage_notes` then says whether the newest checkpoint or a log was damaged. Raises CheckpointError as
        `CheckpointStore.restore` does, and when there are metrics but no checkpoints.
        """
        restored = self._checkpoints.restore(templates, self.folder)
        if restored is not None and self._checkpoints.has_damaged_logs:
            pointers = self._checkpoints.pointers()[: restored.round_idx + 1]
            self._repairs = tuple(repair_logs(self.folder, pointers))
            restored = replace(restored, log_bytes=Pointer.read(pointers[-1]).log_bytes)
        if restored is None and self.skipped_checkpoint is None and has_several_rounds(self.folder):
            raise CheckpointError(
                f"{self.folder} has metrics but no checkpoints; restore its commits folder from a copy"
            )
        self._make_folder()
        truncate_logs(self.folder, restored.log_bytes if restored else {})
        self._checkpoints.set_aside()
        return restored

    def _make_folder(self) -> None:
        with explained_write(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
