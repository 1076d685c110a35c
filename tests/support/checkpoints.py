"""Small checkpoints with recognisable values, for tests that damage their files."""

from pathlib import Path
from typing import Any

import torch

from orchestrator.storage.checkpoints.checkpoint import Checkpoint, RestoredRun, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore

TEMPLATES = Templates(server={"w": torch.zeros(3)}, client={"seen": torch.zeros(2)})


def numbered_checkpoint(round_idx: int, **changes: Any) -> Checkpoint:
    """A checkpoint whose values equal its round. Its only client has the id of the round."""
    content: dict[str, Any] = {
        "round_idx": round_idx,
        "server_state": {"w": torch.full((3,), float(round_idx))},
        "client_states": {round_idx: {"seen": torch.full((2,), float(round_idx))}},
        "shared_masks": {round_idx: f"mask {round_idx}"},
        "totals": {"rounds": round_idx + 1},
        "log_bytes": {},
    }
    return Checkpoint(**(content | changes))


def three_checkpoints(folder: Path) -> Path:
    """Write the checkpoints of rounds 0 to 2. Every clients file contains a latest state."""
    store = CheckpointStore(folder)
    for round_idx in range(3):
        store.write(numbered_checkpoint(round_idx))
    return folder


def assert_is_round(restored: RestoredRun | None, round_idx: int) -> None:
    """Check that a restored run is at this round, with the values of all rounds until then."""
    assert restored is not None
    assert restored.round_idx == round_idx
    assert restored.server_state["w"].tolist() == [round_idx] * 3
    states = {k: state["seen"].tolist() for k, state in restored.client_states.items()}
    assert states == {k: [k, k] for k in range(round_idx + 1)}
    assert restored.shared_masks == {k: f"mask {k}" for k in range(round_idx + 1)}
    assert restored.totals == {"rounds": round_idx + 1}
