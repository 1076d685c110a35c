"""The states that clients keep between their tasks, as the driver reads them, with rounds not yet committed on top."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from orchestrator.storage.checkpoints.saved_states import SavedClientStates


@final
class LayeredStates(Mapping[int, Any]):
    """A read-only view of several mappings by client id; the first layer that contains a client wins."""

    def __init__(self, layers: Sequence[Mapping[int, Any]]) -> None:
        self._layers = layers

    def __getitem__(self, client_id: int) -> Any:
        for layer in self._layers:
            if client_id in layer:
                return layer[client_id]
        raise KeyError(client_id)

    def __contains__(self, client_id: object) -> bool:
        return any(client_id in layer for layer in self._layers)

    def __iter__(self) -> Iterator[int]:
        return iter({k: None for layer in self._layers for k in layer})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@final
class ClientStates(Mapping[int, Any]):
    """A mapping from the id of each client that ever took part to its latest state; None: no state now.

    The driver stages the states of a round as updates arrive, and later tasks start with the staged states. Staged
    states stay in memory until `commit` passes them to `SavedClientStates`, which reads them from disk when needed.
    The driver stages and commits rounds in order.
    """

    def __init__(self, committed: SavedClientStates) -> None:
        self._committed = committed
        self._staged: dict[int, dict[int, Any]] = {}

    def stage(self, round_idx: int, changed: Mapping[int, Any]) -> None:
        """Make the states that a phase of this round changed visible to later reads."""
        if changed:
            self._staged.setdefault(round_idx, {}).update(changed)

    def staged(self, round_idx: int) -> Mapping[int, Any]:
        """Return the states that this round changed so far, for its checkpoint."""
        return self._staged.get(round_idx, {})

    def commit(self, round_idx: int) -> None:
        """Release the staged states of a round whose checkpoint, with these states, is durable."""
        self._committed.add(round_idx, self._staged.pop(round_idx, {}))

    def after(self, round_idx: int) -> Mapping[int, Any]:
        """Return a view of the states after this round, without later rounds.

        The view is valid until a later round is committed.
        """
        staged = [states for number, states in self._staged.items() if number <= round_idx]
        return LayeredStates([*reversed(staged), self._committed])

    def __getitem__(self, client_id: int) -> Any:
        return self._all()[client_id]

    def __contains__(self, client_id: object) -> bool:
        return client_id in self._all()

    def __iter__(self) -> Iterator[int]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> LayeredStates:
        return LayeredStates([*reversed(self._staged.values()), self._committed])
