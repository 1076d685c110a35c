"""What clients keep between their tasks, as the driver sees it: a round's states count before its commit is done."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

from orchestrator.storage.saved_states import SavedClientStates


@final
class LayeredStates(Mapping[int, Any]):
    """Mappings by client id read as one: of the layers that know a client the first counts."""

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
    """A mapping from the id of each client that ever took part to its latest state; None: it keeps none now.

    A round's states are staged as they are folded, and are then what later tasks bring with them; until the
    round's commit they stay in memory. `commit` hands them over to the commits (see SavedClientStates), from which
    they are read again when needed. Rounds are staged and committed in their order.
    """

    def __init__(self, committed: SavedClientStates) -> None:
        self._committed = committed
        self._staged: dict[int, dict[int, Any]] = {}

    def stage(self, round_idx: int, changed: Mapping[int, Any]) -> None:
        """Let all later reads see the states that a phase of this round changed."""
        if changed:
            self._staged.setdefault(round_idx, {}).update(changed)

    def staged(self, round_idx: int) -> Mapping[int, Any]:
        """What this round changed so far, for its commit."""
        return self._staged.get(round_idx, {})

    def commit(self, round_idx: int) -> None:
        """The commit of this round, with the states staged for it, is durable: they need not stay in memory."""
        self._committed.add(round_idx, self._staged.pop(round_idx, {}))

    def after(self, round_idx: int) -> Mapping[int, Any]:
        """The states as they stand after this round, whatever later rounds stage; void when one is committed."""
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
