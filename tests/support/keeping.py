"""Processes that commit client states without a driver, for tests of what they find again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.storage.checkpoint import Checkpoint, CheckpointStore, Templates
from orchestrator.storage.saved_states import LEAF_BYTES

SIZE = 1000
#: what a `Kept` takes: two leaves and itself, 4 bytes a value
STATE_BYTES = 3 * LEAF_BYTES + 4 * SIZE


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """A client state: float32[SIZE] filled with its number."""

    values: Tensor
    number: int


def kept(number: int) -> Kept:
    return Kept(values=torch.full((SIZE,), float(number)), number=number)


TEMPLATE = kept(-1)


class Process:
    """What one process has of a run: its states, and the next round's number."""

    def __init__(self, folder: Path, cache_bytes: int = 2 * STATE_BYTES) -> None:
        self.folder = CheckpointStore(folder, cache_bytes=cache_bytes)
        last = self.folder.last(Templates(server={}, client=TEMPLATE))
        self.states = self.folder.client_states(TEMPLATE) if last is None else last.client_states
        self.round_idx = 0 if last is None else last.round_idx + 1

    def write(self) -> None:
        """Make the running round's commit durable, and nothing more: as if killed right after."""
        self.folder.write(_commit(self.round_idx, self.states.staged(self.round_idx)))

    def commit(self, changed: Mapping[int, Any] | None = None) -> None:
        """Stage, commit, and go on to the next round."""
        self.states.stage(self.round_idx, changed or {})
        self.write()
        self.states.commit(self.round_idx)
        self.round_idx += 1


def _commit(round_idx: int, states: Mapping[int, Any]) -> Checkpoint:
    return Checkpoint(
        round_idx=round_idx, server_state={}, client_states=states, shared_masks={}, totals={}, log_bytes={}
    )


def files_of(folder: Path) -> set[int]:
    return {int(path.stem.removeprefix("clients-")) for path in folder.glob("clients-*.safetensors")}


def numbers_of(states: Mapping[int, Any]) -> dict[int, int | None]:
    """Each client's number, after a look at all of its values; None where it keeps no state."""
    for state in states.values():
        assert state is None or torch.equal(state.values, torch.full((SIZE,), float(state.number)))
    return {k: None if state is None else state.number for k, state in states.items()}
