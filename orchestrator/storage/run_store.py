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

from orchestrator.atomic_write import explained_write
from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, RestoredRun, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore, name_round_in_errors
from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.saved_states import CACHE_BYTES
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.run_description import read_about, read_config, write_description
from orchestrator.storage.run_logs import append_to_logs, has_several_rounds, truncate_logs


class RunStore:
    """Reads and writes the folder of one run."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` limits the memory for client states that are already on disk."""
        self.folder = folder
        self._checkpoints = CheckpointStore(folder / "commits", cache_bytes=cache_bytes)

    @property
    def run_id(self) -> str:
        """The id of the run, which is the name of its folder."""
        return self.folder.name

    @property
    def skipped_checkpoint(self) -> str | None:
        """Why `restore` skipped the newest checkpoint, and after which round the run resumes; None if not skipped."""
        return self._checkpoints.skipped_checkpoint

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder for this process. Raises CheckpointError when another process has locked it."""
        return locked_folder(self.folder)

    @contextmanager
    def recording_failure(self) -> Iterator[None]:
        """Delete failure.txt, and write one line to it when the block raises."""
        path = self.folder / "failure.txt"
        with explained_write(path):
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
        write_description(self.folder, config, about)

    def about(self) -> dict[str, Any]:
        """Return the content of run.json. Raises CheckpointError when run.json cannot be read."""
        return read_about(self.folder)

    def config(self) -> dict[str, Any]:
        """Return the content of config.yaml. Raises CheckpointError when config.yaml cannot be read."""
        return read_config(self.folder)

    def commit(self, checkpoint: Checkpoint, log_lines: Mapping[str, Iterable[str]]) -> None:
        """Append to the logs, then write the checkpoint; a resumed run sees both or neither.

        Raises CheckpointError when the file system rejects a write.
        """
        with name_round_in_errors(checkpoint.round_idx):
            lengths, digests = append_to_logs(self.folder, log_lines)
        self._checkpoints.write(replace(checkpoint, log_bytes=lengths, log_sha256=digests))

    def client_states(self, template: Any) -> ClientStates:
        """Return the client states of a new run: none yet. `template` is a new client state."""
        return self._checkpoints.client_states(template)

    def restore(self, templates: Templates) -> RestoredRun | None:
        """Return the run at its newest valid checkpoint and truncate the logs to it; None when there is none.

        `skipped_checkpoint` then says whether the newest checkpoint was damaged. Raises CheckpointError as
        `CheckpointStore.restore` does, and when there are metrics but no checkpoints.
        """
        restored = self._checkpoints.restore(templates, self.folder)
        if restored is None and self.skipped_checkpoint is None and has_several_rounds(self.folder):
            raise CheckpointError(
                f"{self.folder} has metrics but no checkpoints; restore its commits folder from a copy"
            )
        truncate_logs(self.folder, restored.log_bytes if restored else {})
        self._checkpoints.set_aside()
        return restored
