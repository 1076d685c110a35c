"""Processes that commit client states without a driver, for tests of what a restarted process restores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrator.storage.checkpoints.checkpoint import Checkpoint, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.checkpoints.saved_states import LEAF_BYTES

SIZE = 1000
#: memory of a `NumberedState`: the object and its two leaves, and 4 bytes a value
STATE_BYTES = 3 * LEAF_BYTES + 4 * SIZE


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberedState:
    """A client state: float32[SIZE] filled with its number."""

    values: Tensor
    number: int


def numbered_state(number: int) -> NumberedState:
    return NumberedState(values=torch.full((SIZE,), float(number)), number=number)


TEMPLATE = numbered_state(-1)


class StateProcess:
    """One process of a run: its client states and the number of the next round."""

    def __init__(self, folder: Path, cache_bytes: int = 2 * STATE_BYTES) -> None:
        self.store = CheckpointStore(folder, cache_bytes=cache_bytes)
        restored = self.store.restore(Templates(server={}, client=TEMPLATE))
        self.states = self.store.client_states(TEMPLATE) if restored is None else restored.client_states
        self.round_idx = 0 if restored is None else restored.round_idx + 1

    def write(self) -> None:
        """Write the checkpoint of the current round and do nothing after it, like a process killed at that point."""
        self.store.write(_checkpoint(self.round_idx, self.states.staged(self.round_idx)))

    def commit(self, changed: Mapping[int, Any] | None = None) -> None:
        """Stage the states, write the checkpoint, and continue with the next round."""
        self.states.stage(self.round_idx, changed or {})
        self.write()
        self.states.commit(self.round_idx)
        self.round_idx += 1


def _checkpoint(round_idx: int, states: Mapping[int, Any]) -> Checkpoint:
    return Checkpoint(
        round_idx=round_idx, server_state={}, client_states=states, shared_masks={}, totals={}, log_bytes={}
    )


def rounds_with_clients_file(folder: Path) -> set[int]:
    return {int(path.stem.removeprefix("clients-")) for path in folder.glob("clients-*.safetensors")}


def numbers_of(states: Mapping[int, Any]) -> dict[int, int | None]:
    """Return each client's number after a check of all its values; None where the client keeps no state."""
    for state in states.values():
        assert state is None or torch.equal(state.values, torch.full((SIZE,), float(state.number)))
    return {k: None if state is None else state.number for k, state in states.items()}
