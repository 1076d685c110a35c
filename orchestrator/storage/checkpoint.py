"""Commits: what survives a round, written so that a kill at any moment loses at most the round in flight.

Files of a run's folder, all without pickle:

    commits/round-000012.json           the pointer: written last, renamed into place; it is the commit
    commits/server-000012.safetensors   server state after round 12 (only the last two rounds keep theirs, and those
                                        from which a task began that outlived its round)
    commits/clients-000012.safetensors  states of round 12's participants, where the method keeps any; it goes when
                                        the last two rounds no longer need it, since all have later ones

    commits/torn-000012.json            the pointer of a commit that was not what was written, and was passed over

A pointer carries the SHA-256 of its files and of itself, the running totals, and how long the run's logs were. Where
the newest commit is damaged, the one before it counts.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain, count
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError
from orchestrator.storage import state_file
from orchestrator.storage.atomic_write import flush_folder, storing, write_durably
from orchestrator.storage.client_states import ClientStates
from orchestrator.storage.in_flight import InFlightTask
from orchestrator.storage.pointer import (
    Pointer,
    pointer_name,
    pointers_in,
    server_file,
)
from orchestrator.storage.saved_states import CACHE_BYTES, SavedClientStates, clients_file
from orchestrator.storage.state_file import REMEDY, DamagedFileError, unreadable

KEEP_SERVER_STATES = 2
_SERVER_FILE = re.compile(r"server-(\d{6,})\.safetensors")


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """The run as it stood after a round, as far as the round changed it.

    `client_states` are those that changed in this round, by client id (None: the client keeps none now);
    `shared_masks` the digest of the mask each of the round's participants now holds; `totals` the running sums;
    `log_bytes` the length of each log, `log_sha256` the digest of what the round added to it; `in_flight` tasks that
    outlived the round.
    """

    round_idx: int
    server_state: Any
    client_states: Mapping[int, Any]
    shared_masks: Mapping[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    log_sha256: Mapping[str, str] = field(default_factory=dict)
    in_flight: Sequence[InFlightTask] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class RestoredRun:
    """The run as a commit left it, with the states and held masks of all that ever took part.

    `earlier_states` are the server states, by round, after which tasks in `in_flight` began.
    """

    round_idx: int
    server_state: Any
    client_states: ClientStates
    shared_masks: dict[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    in_flight: Sequence[InFlightTask] = ()
    earlier_states: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """Trees of the right form, into which states are read back: a fresh server state and client state."""

    server: Any
    client: Any


class CheckpointStore:
    """The `commits` folder of one run."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` bounds the memory for client states that are committed."""
        self._folder, self._cache_bytes = folder, cache_bytes
        self._needed: set[int] = set()
        self._torn: Path | None = None
        self.skipped_checkpoint: str | None = None
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        found = (_SERVER_FILE.fullmatch(path.name) for path in folder.iterdir())
        self._present = {int(name[1]) for name in found if name}

    def write(self, commit: Checkpoint) -> None:
        """Make a commit durable; when this returns, a kill cannot undo it.

        Raises CheckpointError when a file cannot be written; the commits before are as they were.
        """
        files = {server_file(commit.round_idx): state_file.encode({"": commit.server_state})}
        states = {str(k): state for k, state in commit.client_states.items()}
        if states:
            files[clients_file(commit.round_idx)] = state_file.encode(states)
        pointer = Pointer(
            round_idx=commit.round_idx,
            files={name: sha256(data).hexdigest() for name, data in files.items()},
            client_states=tuple(commit.client_states),
            shared_masks=commit.shared_masks,
            totals=dict(commit.totals),
            log_bytes=dict(commit.log_bytes),
            log_sha256=dict(commit.log_sha256),
            in_flight=commit.in_flight,
        )
        with committing(commit.round_idx):
            for name, data in files.items():
                write_durably(self._folder / name, data)
            write_durably(self._folder / pointer_name(commit.round_idx), pointer.to_bytes())
        self._forget_server_states(commit)

    def _forget_server_states(self, commit: Checkpoint) -> None:
        """Delete the server states that neither this commit nor the one before needs: one may go back by one."""
        needed = _earlier(commit.in_flight)
        self._present.add(commit.round_idx)
        recent = range(commit.round_idx + 1 - KEEP_SERVER_STATES, commit.round_idx + 1)
        kept = needed | self._needed | set(recent)
        for round_idx in self._present - kept:
            path = self._folder / server_file(round_idx)
            with storing(path):
                path.unlink(missing_ok=True)
        self._present &= kept
        self._needed = needed

    def client_states(self, template: Any) -> ClientStates:
        """Those of a run without commits: none yet. `template` is a fresh client state."""
        return ClientStates(SavedClientStates(self._folder, template, cache_bytes=self._cache_bytes))

    def last(self, templates: Templates, logs: Path | None = None) -> RestoredRun | None:
        """The newest commit, with the client states of all that ever took part; None for a new run.

        With `logs`, the folder of the run's logs, what the commit added to them is part of it. When the newest commit
        is damaged, `skipped_checkpoint` says what is wrong and the one before counts: None where there was none before.
        Nothing is changed on the disk; see `set_aside`.
        Raises CheckpointError, naming the files, when both are damaged, or for what no damage explains.
        """
        self._torn = self.skipped_checkpoint = None
        pointers = pointers_in(self._folder)
        if not pointers:
            return None
        try:
            return self._restored(pointers, templates, logs)
        except DamagedFileError as damage:
            restored = self._before(pointers, damage, templates, logs)
            self._torn = pointers[-1]
            self.skipped_checkpoint = _explained(damage, pointers[-1], restored)
            return restored

    def set_aside(self) -> None:
        """Take the name of a pointer from the commit that `last` passed over."""
        if self._torn is not None:
            with storing(self._torn):
                self._torn.rename(_torn_name(self._torn))
                flush_folder(self._folder)
            self._torn = None

    def _before(
        self, pointers: Sequence[Path], damage: DamagedFileError, templates: Templates, logs: Path | None
    ) -> RestoredRun | None:
        if len(pointers) == 1:
            return None
        try:
            return self._restored(pointers[:-1], templates, logs)
        except DamagedFileError as second:
            found = " and ".join(dict.fromkeys((damage.finding, second.finding)))
            newest = len(pointers) - 1
            raise CheckpointError(
                f"neither the commit of round {newest} nor the one of round {newest - 1} can be used: {found}; {REMEDY}"
            ) from second

    def _restored(self, paths: Sequence[Path], templates: Templates, logs: Path | None) -> RestoredRun:
        """The run at the last of these pointers."""
        newest = Pointer.read(paths[-1])
        if logs is not None:
            _check_logs(logs, newest, Pointer.read(paths[-2]).log_bytes if len(paths) > 1 else {})
        states = SavedClientStates(self._folder, templates.client, cache_bytes=self._cache_bytes)
        digests: dict[str, str] = {}
        held: dict[int, str] = {}
        for pointer in map(Pointer.read, paths):
            digests |= pointer.files
            held |= {k: sys.intern(digest) for k, digest in pointer.shared_masks.items()}
            states.index(pointer.round_idx, pointer.client_states)
        states.verify(digests)
        needed = _earlier(newest.in_flight)

        def server_state(round_idx: int) -> Any:
            path = self._folder / server_file(round_idx)
            state_file.verify(path, digests[path.name])
            return state_file.read(path, "", templates.server)

        restored = RestoredRun(
            round_idx=newest.round_idx,
            server_state=server_state(newest.round_idx),
            earlier_states={round_idx: server_state(round_idx) for round_idx in needed},
            client_states=ClientStates(states),
            shared_masks=held,
            totals=newest.totals,
            log_bytes=newest.log_bytes,
            in_flight=newest.in_flight,
        )
        self._needed = needed
        return restored


@contextmanager
def committing(round_idx: int) -> Iterator[None]:
    """Names the round in whatever keeps it from being committed. Raises CheckpointError."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"round {round_idx} could not be committed: {error}") from error


def _check_logs(folder: Path, pointer: Pointer, before: Mapping[str, int]) -> None:
    """Raises DamagedFileError where a log lacks what the round added to it, or has something else there."""
    for name, length in pointer.log_bytes.items():
        path, start = folder / name, before.get(name, 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                added = file.read(max(0, length - start))
        except OSError as error:
            raise unreadable(path, error) from error
        if len(added) < length - start:
            raise DamagedFileError(path, "is shorter than its last commit says")
        found = sha256(added).hexdigest()
        if pointer.log_sha256.get(name, found) != found:
            raise DamagedFileError(path, f"has other lines than round {pointer.round_idx} wrote")


def _explained(damage: DamagedFileError, torn: Path, restored: RestoredRun | None) -> str:
    goes_on = "begins anew" if restored is None else f"goes on after round {restored.round_idx}"
    round_idx = 0 if restored is None else restored.round_idx + 1
    return (
        f"the commit of round {round_idx} cannot be used: {damage.finding}; the run {goes_on}, "
        f"and that commit's pointer is now {_torn_name(torn).name}"
    )


def _torn_name(pointer: Path) -> Path:
    """A name that no earlier damage has taken."""
    stem = pointer.stem.replace("round-", "torn-")
    names = (f"{stem}{suffix}.json" for suffix in chain(("",), map("-{}".format, count(2))))
    return next(path for path in map(pointer.with_name, names) if not os.path.lexists(path))


def _earlier(in_flight: Sequence[InFlightTask]) -> set[int]:
    """The rounds after whose server state these tasks began; tasks of round 0 begin before all commits."""
    return {each.task.round_idx - 1 for each in in_flight if each.task.round_idx}
