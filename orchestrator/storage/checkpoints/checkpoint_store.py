"""The checkpoints of a run on disk. A kill at any moment loses at most the round in progress.

Files in a run's folder, all without pickle:

    commits/round-000012.json           the pointer; it is written last and renamed into place, and makes the
                                        checkpoint valid
    commits/server-000012.safetensors   server state after round 12; kept for the last two rounds, and for rounds
                                        whose server state a task in flight started from
    commits/clients-000012.safetensors  states of the participants of round 12, if the method keeps client states;
                                        deleted when the last two checkpoints need none of them
    commits/torn-000012.json            the pointer of a damaged checkpoint that a resumed run skipped

A pointer contains the SHA-256 of its files and of itself, the running totals and the lengths of the run's logs. When
the newest checkpoint is damaged, the run resumes from the checkpoint before it.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Any

from orchestrator.atomic_write import explained_write, fsync_folder, write_durably
from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints import state_file
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, RestoredRun, Templates
from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.in_flight import InFlightTask
from orchestrator.storage.checkpoints.pointer import Pointer, pointer_name, pointers_in, server_file
from orchestrator.storage.checkpoints.saved_states import CACHE_BYTES, SavedClientStates, clients_file
from orchestrator.storage.checkpoints.state_file import REMEDY, DamagedFileError
from orchestrator.storage.run_logs import DamagedLogError, verify_logs

KEEP_SERVER_STATES = 2
_SERVER_FILE = re.compile(r"server-(\d{6,})\.safetensors")


class CheckpointStore:
    """Writes and reads the checkpoints in the `commits` folder of one run."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` limits the memory for client states that are already on disk."""
        self._folder, self._cache_bytes = folder, cache_bytes
        self._needed_rounds: set[int] = set()
        self._damaged: Path | None = None
        self.skipped_checkpoint: str | None = None
        self.has_damaged_logs = False
        found = (_SERVER_FILE.fullmatch(path.name) for path in folder.glob("server-*"))
        self._stored_rounds = {int(name[1]) for name in found if name}

    def write(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint durable. After this method returns, a kill cannot undo the round.

        Raises CheckpointError when a file cannot be written. Earlier checkpoints then stay as they are.
        """
        round_idx = checkpoint.round_idx
        files = {server_file(round_idx): state_file.encode({"": checkpoint.server_state})}
        states = {str(k): state for k, state in checkpoint.client_states.items()}
        if states:
            files[clients_file(round_idx)] = state_file.encode(states)
        pointer = Pointer(
            round_idx=round_idx,
            files={name: sha256(data).hexdigest() for name, data in files.items()},
            client_states=tuple(checkpoint.client_states),
            shared_masks=checkpoint.shared_masks,
            totals=dict(checkpoint.totals),
            log_bytes=dict(checkpoint.log_bytes),
            log_sha256=dict(checkpoint.log_sha256),
            in_flight=checkpoint.in_flight,
        )
        with name_round_in_errors(round_idx):
            with explained_write(self._folder):
                if not self._folder.is_dir():
                    self._folder.mkdir(parents=True)
                    fsync_folder(self._folder.parent)
            for name, data in files.items():
                write_durably(self._folder / name, data)
            write_durably(self._folder / pointer_name(round_idx), pointer.to_bytes())
        self._delete_server_states(checkpoint)

    def has(self, round_idx: int) -> bool:
        """Return whether the checkpoint of a round is committed."""
        return (self._folder / pointer_name(round_idx)).exists()

    def _delete_server_states(self, checkpoint: Checkpoint) -> None:
        """Delete the server states that neither this checkpoint nor the one before needs.

        The checkpoint before must stay usable, because a resumed run restores it when the newest is damaged.
        """
        needed = _start_rounds(checkpoint.in_flight)
        self._stored_rounds.add(checkpoint.round_idx)
        recent = range(checkpoint.round_idx + 1 - KEEP_SERVER_STATES, checkpoint.round_idx + 1)
        kept = needed | self._needed_rounds | set(recent)
        for round_idx in self._stored_rounds - kept:
            path = self._folder / server_file(round_idx)
            with explained_write(path):
                path.unlink(missing_ok=True)
        self._stored_rounds &= kept
        self._needed_rounds = needed

    def client_states(self, template: Any) -> ClientStates:
        """Return the client states of a run without checkpoints: none yet. `template` is a new client state."""
        return ClientStates(SavedClientStates(self._folder, template, cache_bytes=self._cache_bytes))

    def restore(self, templates: Templates, logs: Path | None = None) -> RestoredRun | None:
        """Return the run at its newest valid checkpoint; None when there is none.

        `logs` is the folder of the run's logs. If given, the lines that the checkpoint's round added are verified too.
        If the newest checkpoint is damaged, `skipped_checkpoint` explains the damage, and the result is the checkpoint
        before it. If both lack lines of a log, the result is the newest checkpoint with complete states, and
        `has_damaged_logs` is true. This method changes nothing on disk; see `set_aside` and `repair_logs`.

        Raises CheckpointError when both checkpoints have damaged states, or for a problem other than damage.
        """
        self._damaged = self.skipped_checkpoint = None
        self.has_damaged_logs = False
        pointers = pointers_in(self._folder)
        if not pointers:
            return None
        try:
            return self._restore_at(pointers, templates, logs)
        except DamagedFileError as damage:
            try:
                return self._restore_previous(pointers, damage, templates, logs)
            except DamagedLogError:
                restored = self.restore(templates)
                self.has_damaged_logs = True
                return restored

    def pointers(self) -> list[Path]:
        """Return the pointer files of all rounds in order."""
        return pointers_in(self._folder)

    def set_aside(self) -> None:
        """Rename the pointer of the damaged checkpoint that `restore` skipped, so that nothing reads it again."""
        if self._damaged is not None:
            with explained_write(self._damaged):
                self._damaged.rename(_unused_torn_name(self._damaged))
                fsync_folder(self._folder)
            self._damaged = None

    def _restore_previous(
        self, pointers: Sequence[Path], damage: DamagedFileError, templates: Templates, logs: Path | None
    ) -> RestoredRun | None:
        """Return the run at the checkpoint before the damaged one. Raises DamagedLogError if its logs are damaged."""
        restored = None
        if len(pointers) > 1:
            try:
                restored = self._restore_at(pointers[:-1], templates, logs)
            except DamagedLogError:
                raise
            except DamagedFileError as second:
                if isinstance(damage, DamagedLogError):
                    raise damage from second
                findings = " and ".join(dict.fromkeys((damage.finding, second.finding)))
                newest = len(pointers) - 1
                raise CheckpointError(
                    f"the checkpoints of rounds {newest} and {newest - 1} cannot be used: {findings}; {REMEDY}"
                ) from second
        self._damaged = pointers[-1]
        self.skipped_checkpoint = _explanation(damage, pointers[-1], restored)
        return restored

    def _restore_at(self, paths: Sequence[Path], templates: Templates, logs: Path | None) -> RestoredRun:
        """Return the run at the last of these pointers, which are those of all rounds so far."""
        newest = Pointer.read(paths[-1])
        if logs is not None:
            verify_logs(logs, newest, Pointer.read(paths[-2]).log_bytes if len(paths) > 1 else {})
        states = SavedClientStates(self._folder, templates.client, cache_bytes=self._cache_bytes)
        digests: dict[str, str] = {}
        shared_masks: dict[int, str] = {}
        for pointer in map(Pointer.read, paths):
            digests |= pointer.files
            shared_masks |= {k: sys.intern(digest) for k, digest in pointer.shared_masks.items()}
            states.index(pointer.round_idx, pointer.client_states)
        states.verify(digests)
        needed = _start_rounds(newest.in_flight)

        def server_state(round_idx: int) -> Any:
            path = self._folder / server_file(round_idx)
            state_file.verify(path, digests[path.name])
            return state_file.read(path, "", templates.server)

        restored = RestoredRun(
            round_idx=newest.round_idx,
            server_state=server_state(newest.round_idx),
            earlier_states={round_idx: server_state(round_idx) for round_idx in needed},
            client_states=ClientStates(states),
            shared_masks=shared_masks,
            totals=newest.totals,
            log_bytes=newest.log_bytes,
            in_flight=newest.in_flight,
        )
        self._needed_rounds = needed
        return restored


@contextmanager
def name_round_in_errors(round_idx: int) -> Iterator[None]:
    """Add the round to a CheckpointError of the block."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"round {round_idx} could not be committed: {error}") from error


def _explanation(damage: DamagedFileError, pointer: Path, restored: RestoredRun | None) -> str:
    round_idx = 0 if restored is None else restored.round_idx + 1
    effect = "restarts at round 0" if restored is None else f"resumes after round {restored.round_idx}"
    return (
        f"the checkpoint of round {round_idx} cannot be used: {damage.finding}; the run {effect}, "
        f"and the pointer of that checkpoint is now {_unused_torn_name(pointer).name}"
    )


def _unused_torn_name(pointer: Path) -> Path:
    stem = pointer.stem.replace("round-", "torn-")
    names = (f"{stem}{suffix}.json" for suffix in chain(("",), map("-{}".format, count(2))))
    return next(path for path in map(pointer.with_name, names) if not os.path.lexists(path))


def _start_rounds(in_flight: Sequence[InFlightTask]) -> set[int]:
    """Return the rounds after which these tasks started; a task of round 0 starts before any checkpoint."""
    return {each.task.round_idx - 1 for each in in_flight if each.task.round_idx}
