"""The pointer file of a checkpoint, which contains the SHA-256 of the round's files and of itself."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError
from orchestrator.storage.checkpoints.in_flight import InFlightTask
from orchestrator.storage.checkpoints.saved_states import clients_file
from orchestrator.storage.checkpoints.state_file import DamagedFileError, unreadable

_NAME = re.compile(r"round-(\d{6,})\.json")
_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """The content of a pointer file.

    `files`: SHA-256 of each file of the round, by name.
    `client_states`: ids of the clients whose states are in the round's clients file.
    `log_bytes`: length of each log after the round.
    `log_sha256`: digest of the lines that the round added to each log; empty in checkpoints of old releases.
    The other fields are as in `Checkpoint`.
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
        """Return the content of the file, with its own digest."""
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
        """Read a pointer file, whose name must match its round.

        Raises DamagedFileError when the file changed after it was written, and CheckpointError when another release
        wrote it.
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
            problem = f"has another format than this release reads ({type(error).__name__}: {error})"
            raise CheckpointError(
                f"checkpoint file {path} {problem}; use the release that wrote it"
            ) from error


def pointer_name(round_idx: int) -> str:
    """Return the file name of a round's pointer."""
    return f"round-{round_idx:06d}.json"


def server_file(round_idx: int) -> str:
    """Return the name of the file with the server state after a round."""
    return f"server-{round_idx:06d}.safetensors"


def pointers_in(folder: Path) -> list[Path]:
    """Return all pointers of a folder in the order of rounds. Raises CheckpointError when an earlier one is missing."""
    rounds = {int(found[1]): path for path in folder.glob("round-*") if (found := _NAME.fullmatch(path.name))}
    for round_idx in range(max(rounds, default=0)):
        if round_idx not in rounds:
            missing = folder / pointer_name(round_idx)
            raise CheckpointError(
                f"checkpoint {missing} is missing; restore it from a copy, or start a new run"
            )
    return [rounds[round_idx] for round_idx in sorted(rounds)]


def seal(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a pointer file with this content and its digest."""
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
        raise ValueError(f"it contains round {pointer.round_idx}")
    files = {server_file(pointer.round_idx)}
    if pointer.client_states:
        files.add(clients_file(pointer.round_idx))
    if pointer.files.keys() != files:
        raise ValueError(f"it names the files {', '.join(sorted(pointer.files))}")
    return pointer


def _of_kind(value: Any, *kinds: type) -> Any:
    if type(value) not in kinds:
        raise TypeError(f"{value!r:.60} is not of type {kinds[0].__name__}")
    return value


def _mapping(value: Any, *kinds: type) -> dict[str, Any]:
    return {key: _of_kind(inner, *kinds) for key, inner in _of_kind(value, dict).items()}


def _client_id(text: Any) -> int:
    if not _of_kind(text, str).isdecimal():
        raise ValueError(f"{text!r:.60} is not a client id")
    return int(text)
