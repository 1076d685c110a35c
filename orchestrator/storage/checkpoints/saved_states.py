"""The client states in a run's checkpoints: read on demand, with a cache of limited size."""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path
from typing import Any, final

from torch import Tensor

from orchestrator.atomic_write import explained_write
from orchestrator.federation import tree
from orchestrator.storage.checkpoints import state_file

#: memory for states that are on disk too
CACHE_BYTES = 256 * 2**20
#: memory of a leaf besides its values: the Python objects of tensor and dictionary entry
LEAF_BYTES = 1024
NEVER = -1


def clients_file(round_idx: int) -> str:
    """Return the name of the file with the states that changed in a round."""
    return f"clients-{round_idx:06d}.safetensors"


@final
class SavedClientStates(Mapping[int, Any]):
    """A mapping from client id to the latest committed state; None: the client keeps no state now.

    The mapping stores the round in which each client's state last changed (4 bytes a client), and reads the state
    from the file of that round. Reading raises CheckpointError, with the file name, when the file cannot be read.
    """

    def __init__(self, folder: Path, template: Any, *, cache_bytes: int = CACHE_BYTES) -> None:
        """Start without states. `template` is a new client state, which gives stored states their structure."""
        self._folder, self._template = folder, template
        self._cache = StateCache(cache_bytes)
        self._rounds = array("i")
        self._num_live: dict[int, int] = {}
        self._superseded: list[int] = []

    def index(self, round_idx: int, client_ids: Iterable[int]) -> None:
        """Register the clients whose states are in the file of a round. Call this method in the order of rounds."""
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
        """Compare each file that contains a latest state with its SHA-256.

        Also read one state of each file, so that another version of the method is rejected before a client trains.
        Raises DamagedFileError for a damaged file. A file without any latest state may be missing.
        """
        samples = {round_idx: k for k, round_idx in enumerate(self._rounds) if round_idx != NEVER}
        for round_idx in sorted(samples):
            name = clients_file(round_idx)
            state_file.verify(self._folder / name, digests[name])
            self._read(round_idx, samples[round_idx])

    def add(self, round_idx: int, states: Mapping[int, Any]) -> None:
        """Add the states of a round whose checkpoint is durable.

        Delete the files that neither this checkpoint nor the one before needs. The checkpoint before must stay
        usable, because a resumed run restores it when the newest is damaged.
        """
        for earlier in self._superseded:
            path = self._folder / clients_file(earlier)
            with explained_write(path):
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
    """A cache of states with a limit in bytes, which drops the least recently used states first."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._states: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self.num_bytes = 0

    def put(self, client_id: int, state: Any) -> None:
        """Replace the client's state; a state larger than the limit is not kept."""
        self.num_bytes -= self._states.pop(client_id, (None, 0))[1]
        self._states[client_id] = state, size_bytes(state)
        self.num_bytes += self._states[client_id][1]
        while self.num_bytes > self._limit_bytes:
            self.num_bytes -= self._states.popitem(last=False)[1][1]

    def get(self, client_id: int) -> Any:
        """Return a state that the cache contains."""
        self._states.move_to_end(client_id)
        return self._states[client_id][0]

    def __contains__(self, client_id: int) -> bool:
        return client_id in self._states


def size_bytes(state: Any) -> int:
    """Return the memory of a state in bytes; a view of a tensor counts with its whole storage."""
    leaves = [leaf for _, leaf in tree.flatten(state)]
    storages = [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor)]
    values = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return LEAF_BYTES * (1 + len(leaves)) + sum(values.values())
