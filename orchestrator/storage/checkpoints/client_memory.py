"""What the driver knows of the clients between their tasks: their states, and the mask that each shares with it.

`ClientMemory` is the only owner of both. Phases write into it while they fold updates; a checkpoint takes what its
round changed; tasks read the latest values.
"""

from collections.abc import Mapping
from typing import Any, final

from orchestrator.storage.checkpoints.client_states import ClientStates


@final
class ClientMemory:
    """States and shared masks of all clients that ever took part."""

    def __init__(self, states: ClientStates, shared_masks: Mapping[int, str] | None = None) -> None:
        """`shared_masks` names by digest the mask of the broadcast that each client received last."""
        self._states = states
        self._masks = dict(shared_masks or {})
        self._staged_masks: dict[int, dict[int, str]] = {}

    @property
    def states(self) -> Mapping[int, Any]:
        """The latest state of each client that took part; None for a client that keeps no state now."""
        return self._states

    def states_after(self, round_idx: int) -> Mapping[int, Any]:
        """The states after this round, whatever later rounds have changed; valid until the next commit."""
        return self._states.after(round_idx)

    def shared_mask(self, client_id: int) -> str | None:
        """Digest of the broadcast mask that the client received last; None before its first one."""
        return self._masks.get(client_id)

    def store_state(self, round_idx: int, client_id: int, state: Any) -> None:
        """Store the state with which a client ended a task; a client that never had a state needs no entry."""
        if state is not None or client_id in self._states:
            self._states.stage(round_idx, {client_id: state})

    def store_mask(self, round_idx: int, client_id: int, digest: str) -> None:
        """Store that a client has received the broadcast mask of this digest."""
        self._masks[client_id] = digest
        self._staged_masks.setdefault(round_idx, {})[client_id] = digest

    def changed_states(self, round_idx: int) -> Mapping[int, Any]:
        """The states that this round has changed, for its checkpoint."""
        return self._states.staged(round_idx)

    def changed_masks(self, round_idx: int) -> dict[int, str]:
        """The masks that clients received in this round, for its checkpoint."""
        return dict(self._staged_masks.get(round_idx, {}))

    def commit(self, round_idx: int) -> None:
        """The checkpoint of this round is durable: its states need not stay in memory."""
        self._states.commit(round_idx)
        self._staged_masks.pop(round_idx, None)
