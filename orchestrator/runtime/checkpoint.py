"""Commits: what survives a round, written so that a kill at any moment loses at most the round in flight.

Files of a run's folder, all without pickle:

    commits/round-000012.json           the pointer: written last, renamed into place; it is the commit
    commits/server-000012.safetensors   server state after round 12 (only the last two rounds keep theirs, and those
                                        from which a task began that outlived its round)
    commits/clients-000012.safetensors  states of round 12's participants, where the method keeps any; it goes when
                                        the last two rounds no longer need it, since all have later ones

A pointer carries the SHA-256 of its files and of itself, the running totals, and how long the run's logs were.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError
from orchestrator.runtime import state_file
from orchestrator.runtime.client_states import ClientStates
from orchestrator.runtime.committed_states import CACHE_BYTES, CommittedStates, clients_file
from orchestrator.runtime.flight import Flight
from orchestrator.runtime.state_file import REMEDY

KEEP_SERVER_STATES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Commit:
    """The run as it stood after a round, as far as the round changed it.

    `client_states` are those that changed in this round, by client id (None: the client keeps none now);
    `held_masks` the digest of the mask each of the round's participants now holds; `totals` the running sums;
    `log_bytes` the length of each log; `flights` the tasks that outlived the round.
    """

    round_idx: int
    server_state: Any
    client_states: Mapping[int, Any]
    held_masks: Mapping[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    flights: Sequence[Flight] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Restored:
    """The run as its newest commit left it, with the states and held masks of all that ever took part.

    `earlier_states` are the server states, by round, after which tasks in `flights` began.
    """

    round_idx: int
    server_state: Any
    client_states: ClientStates
    held_masks: dict[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    flights: Sequence[Flight] = ()
    earlier_states: Mapping[int, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """Trees of the right form, into which states are read back: a fresh server state and client state."""

    server: Any
    client: Any


class CommitFolder:
    """The `commits` folder of one run."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        """`cache_bytes` bounds the memory for client states that are committed."""
        self._folder, self._cache_bytes = folder, cache_bytes
        self._needed: set[int] = set()
        self._present = {
            int(path.stem.removeprefix("server-")) for path in folder.glob("server-*.safetensors")
        }
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, commit: Commit) -> None:
        """Make a commit durable; when this returns, a kill cannot undo it."""
        server_file = _server_file(commit.round_idx)
        files = {server_file: state_file.encode({"": commit.server_state})}
        states = {str(k): state for k, state in commit.client_states.items()}
        if states:
            files[clients_file(commit.round_idx)] = state_file.encode(states)
        for name, data in files.items():
            write_durably(self._folder / name, data)
        pointer = {
            "round_idx": commit.round_idx,
            "files": {name: sha256(data).hexdigest() for name, data in files.items()},
            "client_states": list(states),
            "held_masks": {str(k): digest for k, digest in commit.held_masks.items()},
            "totals": dict(commit.totals),
            "log_bytes": dict(commit.log_bytes),
            "flights": [asdict(flight) for flight in commit.flights],
        }
        write_durably(self._folder / _pointer_name(commit.round_idx), _seal(pointer))
        self._forget_server_states(commit)

    def _forget_server_states(self, commit: Commit) -> None:
        """Delete the server states that neither this commit nor the one before needs: one may go back by one."""
        needed = _earlier(commit.flights)
        self._present.add(commit.round_idx)
        recent = range(commit.round_idx + 1 - KEEP_SERVER_STATES, commit.round_idx + 1)
        kept = needed | self._needed | set(recent)
        for round_idx in self._present - kept:
            (self._folder / _server_file(round_idx)).unlink(missing_ok=True)
        self._present &= kept
        self._needed = needed

    def client_states(self, template: Any) -> ClientStates:
        """Those of a run without commits: none yet. `template` is a fresh client state."""
        return ClientStates(CommittedStates(self._folder, template, cache_bytes=self._cache_bytes))

    def last(self, templates: Templates) -> Restored | None:
        """The newest commit, with the client states of all that ever took part; None for a new run.

        Raises CheckpointError, naming the file, when the newest commit is torn or corrupt.
        """
        pointers = sorted(self._folder.glob("round-*.json"))
        if not pointers:
            return None
        newest = self._read_pointer(pointers[-1])
        if len(pointers) != newest["round_idx"] + 1:
            present = {path.name for path in pointers}
            missing = next(n for n in map(_pointer_name, range(newest["round_idx"])) if n not in present)
            raise CheckpointError(
                f"commit {self._folder / missing} is missing; restore it, or start a new run"
            )
        states = CommittedStates(self._folder, templates.client, cache_bytes=self._cache_bytes)
        digests: dict[str, str] = {}
        held: dict[int, str] = {}
        for path in pointers:
            pointer = self._read_pointer(path)
            digests |= pointer["files"]
            held |= {int(k): sys.intern(digest) for k, digest in pointer["held_masks"].items()}
            states.index(pointer["round_idx"], map(int, pointer["client_states"]))
        states.verify(digests)
        flights = tuple(Flight(**flight) for flight in newest.get("flights", ()))
        self._needed = _earlier(flights)

        def server_state(round_idx: int) -> Any:
            path = self._folder / _server_file(round_idx)
            state_file.verify(path, digests[path.name])
            return state_file.read(path, "", templates.server)

        return Restored(
            round_idx=newest["round_idx"],
            server_state=server_state(newest["round_idx"]),
            earlier_states={round_idx: server_state(round_idx) for round_idx in self._needed},
            client_states=ClientStates(states),
            held_masks=held,
            totals=newest["totals"],
            log_bytes=newest["log_bytes"],
            flights=flights,
        )

    def _read_pointer(self, path: Path) -> dict[str, Any]:
        try:
            sealed: dict[str, Any] = json.loads(path.read_bytes())
            digest = sealed.pop("sha256")
            if _digest(sealed) != digest:
                raise ValueError("its checksum differs")
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"commit {path} is corrupt ({error}); {REMEDY}") from error
        return sealed


def _earlier(flights: Sequence[Flight]) -> set[int]:
    """The rounds after whose server state these tasks began; tasks of round 0 begin before all commits."""
    return {flight.round_idx - 1 for flight in flights if flight.round_idx}


def _server_file(round_idx: int) -> str:
    return f"server-{round_idx:06d}.safetensors"


def _pointer_name(round_idx: int) -> str:
    return f"round-{round_idx:06d}.json"


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _digest(pointer: Mapping[str, Any]) -> str:
    return sha256(json.dumps(pointer, sort_keys=True).encode()).hexdigest()


def _seal(pointer: dict[str, Any]) -> bytes:
    return json.dumps({**pointer, "sha256": _digest(pointer)}, sort_keys=True).encode()
