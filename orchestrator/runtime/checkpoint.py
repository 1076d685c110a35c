"""Commits: what survives a round, written so that a kill at any moment loses at most the round in flight.

Files of a run's folder, all without pickle:

    commits/round-000012.json           the pointer: written last, renamed into place; it is the commit
    commits/server-000012.safetensors   server state after round 12 (only the last two rounds keep theirs)
    commits/clients-000012.safetensors  states of round 12's participants, where the method keeps any

A pointer carries the SHA-256 of its files and of itself, the running totals, and how long the run's logs were.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.federation import tree

KEEP_SERVER_STATES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Commit:
    """The run as it stood after a round.

    `client_states` are those that changed in this round, by client id (None: the client keeps none now);
    `held_masks` the digest of the mask each of the round's participants now holds; `totals` the running sums;
    `log_bytes` the length of each log.
    """

    round_idx: int
    server_state: Any
    client_states: Mapping[int, Any]
    held_masks: Mapping[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Templates:
    """Trees of the right form, into which states are read back: a fresh server state and client state."""

    server: Any
    client: Any


class CommitFolder:
    """The `commits` folder of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, commit: Commit) -> None:
        """Make a commit durable; when this returns, a kill cannot undo it."""
        number = f"{commit.round_idx:06d}"
        files = {f"server-{number}.safetensors": _encode({"": commit.server_state})}
        states = {str(k): state for k, state in commit.client_states.items()}
        if states:
            files[f"clients-{number}.safetensors"] = _encode(states)
        for name, data in files.items():
            write_durably(self._folder / name, data)
        pointer = {
            "round_idx": commit.round_idx,
            "files": {name: sha256(data).hexdigest() for name, data in files.items()},
            "client_states": list(states),
            "held_masks": {str(k): digest for k, digest in commit.held_masks.items()},
            "totals": dict(commit.totals),
            "log_bytes": dict(commit.log_bytes),
        }
        write_durably(self._folder / _pointer_name(commit.round_idx), _seal(pointer))
        old = self._folder / f"server-{commit.round_idx - KEEP_SERVER_STATES:06d}.safetensors"
        old.unlink(missing_ok=True)

    def last(self, templates: Templates) -> Commit | None:
        """The newest commit with the latest state of every client that ever took part; None for a new run.

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
        client_states: dict[int, Any] = {}
        held: dict[int, str] = {}
        for path in pointers:
            pointer = self._read_pointer(path)
            held |= {int(k): digest for k, digest in pointer["held_masks"].items()}
            for name in pointer["files"]:
                if name.startswith("clients-"):
                    client_states |= self._read_clients(pointer, name, templates.client)
        server_file = next(name for name in newest["files"] if name.startswith("server-"))
        return Commit(
            round_idx=newest["round_idx"],
            server_state=_decode(self._read(newest, server_file), {"": templates.server})[""],
            client_states=client_states,
            held_masks=held,
            totals=newest["totals"],
            log_bytes=newest["log_bytes"],
        )

    def _read_clients(self, pointer: Mapping[str, Any], name: str, template: Any) -> dict[int, Any]:
        data = self._read(pointer, name)
        states = _decode(data, dict.fromkeys(pointer["client_states"], template))
        return {int(k): state for k, state in states.items()}

    def _read(self, pointer: Mapping[str, Any], name: str) -> bytes:
        path = self._folder / name
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"commit file {path} cannot be read ({error}); {_REMEDY}") from error
        if sha256(data).hexdigest() != pointer["files"][name]:
            raise CheckpointError(f"commit file {path} is corrupt: its checksum differs; {_REMEDY}")
        return data

    def _read_pointer(self, path: Path) -> dict[str, Any]:
        try:
            sealed: dict[str, Any] = json.loads(path.read_bytes())
            digest = sealed.pop("sha256")
            if _digest(sealed) != digest:
                raise ValueError("its checksum differs")
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"commit {path} is corrupt ({error}); {_REMEDY}") from error
        return sealed


_REMEDY = "delete this round's files in that folder to go back to the commit before, or start a new run"


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


def _encode(trees: Mapping[str, Any]) -> bytes:
    tensors, numbers = {}, {}
    for prefix, state in trees.items():
        for path, leaf in tree.flatten(state, prefix):
            if isinstance(leaf, Tensor):
                tensors[path] = leaf.detach().clone(memory_format=torch.contiguous_format)
            else:
                numbers[path] = leaf
    return save(tensors, metadata={"numbers": json.dumps(numbers)})


def _leaves(data: bytes) -> dict[str, Tensor | tree.Scalar]:
    try:
        header_bytes = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + header_bytes])["__metadata__"]
        return {**load(data), **json.loads(metadata["numbers"])}
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"a commit file cannot be read ({error}); {_REMEDY}") from error


def _decode(data: bytes, templates: Mapping[str, Any]) -> dict[str, Any]:
    leaves = _leaves(data)
    try:
        return {prefix: tree.rebuild(template, leaves, prefix) for prefix, template in templates.items()}
    except KeyError as error:
        raise CheckpointError(f"a commit lacks {error}: it is of another version of the method") from error


def _digest(pointer: Mapping[str, Any]) -> str:
    return sha256(json.dumps(pointer, sort_keys=True).encode()).hexdigest()


def _seal(pointer: dict[str, Any]) -> bytes:
    return json.dumps({**pointer, "sha256": _digest(pointer)}, sort_keys=True).encode()
