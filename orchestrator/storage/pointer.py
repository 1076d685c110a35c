"""The pointer of a commit: written last, it names the round's files and their SHA-256 sums, and carries its own."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError
from orchestrator.storage.in_flight import InFlightTask
from orchestrator.storage.saved_states import clients_file
from orchestrator.storage.state_file import DamagedFileError, unreadable

_NAME = re.compile(r"round-(\d{6,})\.json")
_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """What a commit says of itself.

    `files` are the digests of the round's files, `client_states` the ids of the clients whose states are in its
    clients' file, `log_bytes` the length of each log after the round, `log_sha256` the digest of what the round
    added to each (empty in commits of releases that did not note it). The rest is as in `Checkpoint`.
    """

    round_idx: int
    files: Mapping[str, str]
    client_states: Sequence[int]
    shared_masks: Mapping[int, str]
    totals: Mapping[str, float]
    log_bytes: Mapping[str, int]
    log_sha256: Mapping[str, str]
    in_flight: Sequence[InFlightTask]

    def to_bytes(self) -> bytes:
        """The file's content, sealed with its own digest."""
        content = {
            **{
                name: getattr(self, name)
                for name in ("round_idx", "files", "totals", "log_bytes", "log_sha256")
            },
            "client_states": [str(k) for k in self.client_states],
            "held_masks": {str(k): digest for k, digest in self.shared_masks.items()},
            "flights": [task.to_dict() for task in self.in_flight],
        }
        return seal(content)

    @classmethod
    def read(cls, path: Path) -> "Pointer":
        """The pointer in a file of that round's name.

        Raises DamagedFileError when it is not what was written, CheckpointError when it is of another release.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
            digest = content.pop("sha256")
            if _digest(content) != digest:
                raise ValueError("its checksum differs")
        except OSError as error:
            raise unreadable(path, error) from error
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise DamagedFileError(path, f"is corrupt ({error})") from error
        try:
            return _parsed(content, path.name)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            problem = f"is not of the form that this release reads ({type(error).__name__}: {error})"
            raise CheckpointError(f"commit file {path} {problem}; use the release that wrote it") from error


def pointer_name(round_idx: int) -> str:
    """Name of a round's pointer."""
    return f"round-{round_idx:06d}.json"


def server_file(round_idx: int) -> str:
    """Name of the file with the server state after a round."""
    return f"server-{round_idx:06d}.safetensors"


def pointers_in(folder: Path) -> list[Path]:
    """All pointers of a folder, by round. Raises CheckpointError, naming it, when one before the last is missing."""
    rounds = {int(found[1]): path for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))}
    for round_idx in range(max(rounds, default=0)):
        if round_idx not in rounds:
            missing = folder / pointer_name(round_idx)
            raise CheckpointError(f"commit {missing} is missing; restore it, or start a new run")
    return [rounds[round_idx] for round_idx in sorted(rounds)]


def seal(content: Mapping[str, Any]) -> bytes:
    """A pointer file with that content and its digest."""
    return json.dumps({**content, "sha256": _digest(content)}, sort_keys=True).encode()


def _digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _parsed(content: Mapping[str, Any], name: str) -> Pointer:
    pointer = Pointer(
        round_idx=_of_kind(content["round_idx"], int),
        files=_mapping(content["files"], str),
        client_states=tuple(_client_id(k) for k in content["client_states"]),
        shared_masks={_client_id(k): d for k, d in _mapping(content["held_masks"], str).items()},
        totals=_mapping(content["totals"], *_NUMBERS),
        log_bytes=_mapping(content["log_bytes"], int),
        log_sha256=_mapping(content.get("log_sha256", {}), str),
        in_flight=tuple(InFlightTask.from_dict(_of_kind(task, dict)) for task in content.get("flights", ())),
    )
    if name != pointer_name(pointer.round_idx):
        raise ValueError(f"it says that it is of round {pointer.round_idx}")
    files = {server_file(pointer.round_idx)}
    if pointer.client_states:
        files.add(clients_file(pointer.round_idx))
    if pointer.files.keys() != files:
        raise ValueError(f"it names the files {', '.join(sorted(pointer.files))}")
    return pointer


def _of_kind(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{value!r:.60} where {kinds[0].__name__} is due")
    return value


def _mapping(value: Any, *kinds: type) -> dict[str, Any]:
    return {key: _of_kind(inner, *kinds) for key, inner in _of_kind(value, dict).items()}


def _client_id(text: Any) -> int:
    if not _of_kind(text, str).isdecimal():
        raise ValueError(f"{text!r:.60} where a client's id is due")
    return int(text)
