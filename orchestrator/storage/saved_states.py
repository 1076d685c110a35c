"""The client states in a run's commits: one is read when it is asked for, and only some stay in memory."""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, final

from torch import Tensor

from orchestrator.federation import tree
from orchestrator.storage import state_file
from orchestrator.storage.atomic_write import storing

#: memory for states that are committed, and so could be read again
CACHE_BYTES = 256 * 2**20
#: what a leaf costs beside its values: the tensor's and the dictionary's own objects
LEAF_BYTES = 1024
NEVER = -1


def clients_file(round_idx: int) -> str:
    """Name of the file with the states that changed in a round."""
    return f"clients-{round_idx:06d}.safetensors"


@final
class SavedClientStates(Mapping[int, Any]):
    """A mapping from client id to the latest committed state; None: the client keeps none now.

    It knows the round in which each client's state last changed, 4 bytes a client, and reads from that round's
    file. Reading raises CheckpointError, naming the file, when that cannot be done.
    """

    def __init__(self, folder: Path, template: Any, *, cache_bytes: int = CACHE_BYTES) -> None:
        """No states yet. `template` is a fresh client state, into whose form states are read."""
        self._folder, self._template = folder, template
        self._cache = StateCache(cache_bytes)
        self._rounds = array("i")
        self._num_live: dict[int, int] = {}
        self._superseded: list[int] = []

    def index(self, round_idx: int, client_ids: Iterable[int]) -> None:
        """Note whose states are in a round's file. Rounds come in their order."""
        for client_id in client_ids:
            self._rounds.extend(repeat(NEVER, client_id + 1 - len(self._rounds)))
            before = self._rounds[client_id]
            self._rounds[client_id] = round_idx
            self._num_live[round_idx] = self._num_live.get(round_idx, 0) + 1
            if before != NEVER:
                self._num_live[before] -= 1
                if not self._num_live[before]:
                    del self._num_live[before]
                    self._superseded.append(before)

    def verify(self, digests: Mapping[str, str]) -> None:
        """Check the files that hold latest states against their SHA-256 sums, one after the other.

        One state of each is read too, so that another version of the method is refused before a client trains.
        Raises DamagedFileError for a damaged file. A file whose states are all superseded may be missing.
        """
        samples = {round_idx: k for k, round_idx in enumerate(self._rounds) if round_idx != NEVER}
        for round_idx in sorted(samples):
            name = clients_file(round_idx)
            state_file.verify(self._folder / name, digests[name])
            self._read(round_idx, samples[round_idx])

    def add(self, round_idx: int, states: Mapping[int, Any]) -> None:
        """Take over a round's states, whose commit is durable.

        Deletes the files that neither this commit nor the one before needs: one may go back by one.
        """
        for earlier in self._superseded:
            path = self._folder / clients_file(earlier)
            with storing(path):
                path.unlink(missing_ok=True)
        self._superseded = []
        self.index(round_idx, states)
        for client_id, state in states.items():
            self._cache.put(client_id, state)

    def __getitem__(self, client_id: int) -> Any:
        if client_id not in self:
            raise KeyError(client_id)
        if client_id not in self._cache:
            self._cache.put(client_id, state := self._read(self._rounds[client_id], client_id))
            return state
        return self._cache.get(client_id)

    def __contains__(self, client_id: object) -> bool:
        return (
            isinstance(client_id, int)
            and 0 <= client_id < len(self._rounds)
            and self._rounds[client_id] != NEVER
        )

    def __iter__(self) -> Iterator[int]:
        return (k for k, round_idx in enumerate(self._rounds) if round_idx != NEVER)

    def __len__(self) -> int:
        return sum(self._num_live.values())

    def _read(self, round_idx: int, client_id: int) -> Any:
        return state_file.read(self._folder / clients_file(round_idx), str(client_id), self._template)


@final
class StateCache:
    """States in memory, up to a number of bytes; the least recently used ones make room."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._states: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self.num_bytes = 0

    def put(self, client_id: int, state: Any) -> None:
        """Keep a state instead of the client's earlier one; one above the limit is not kept."""
        self.num_bytes -= self._states.pop(client_id, (None, 0))[1]
        self._states[client_id] = state, size_bytes(state)
        self.num_bytes += self._states[client_id][1]
        while self.num_bytes > self._limit_bytes:
            self.num_bytes -= self._states.popitem(last=False)[1][1]

    def get(self, client_id: int) -> Any:
        """A state that is `in` the cache."""
        self._states.move_to_end(client_id)
        return self._states[client_id][0]

    def __contains__(self, client_id: int) -> bool:
        return client_id in self._states


def size_bytes(state: Any) -> int:
    """Memory that a state holds: of a tensor that is a view, all that it is a view of."""
    leaves = [leaf for _, leaf in tree.flatten(state)]
    storages = [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor)]
    values = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return LEAF_BYTES * (1 + len(leaves)) + sum(values.values())
