"""Stores the rows of every client in three arrays, which take less memory than one object per client.

Legend: K = clients, M = stored row numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ClientIndex:
    """The rows of K clients: client k has the rows `indices[starts[k]:stops[k]]`.

    `starts` and `stops` are int64[K], `indices` is int64[M]. The slices of two clients may overlap.
    """

    starts: Int64
    stops: Int64
    indices: Int64

    @classmethod
    def of_sizes(cls, sizes: Int64, indices: Int64) -> Self:
        """Give the first sizes[0] rows to the first client, and so on; the sizes add up to M."""
        stops = np.cumsum(sizes, dtype=np.int64)
        return cls(stops - sizes, stops, indices)

    @classmethod
    def shared(cls, indices: Int64, num_clients: int) -> Self:
        """Give all rows to every client."""
        starts = np.zeros(num_clients, dtype=np.int64)
        return cls(starts, starts + len(indices), indices)

    def repeated(self, num_clients: int) -> Self:
        """Return an index of `num_clients` clients: client k has the rows of client k mod K; 16 bytes per client."""
        source = np.arange(num_clients) % len(self)
        return type(self)(self.starts[source], self.stops[source], self.indices)

    def first(self, num_clients: int) -> Self:
        """Return the index of the first `num_clients` clients, with the rows that these clients have."""
        if num_clients == len(self):
            return self
        starts, stops = self.starts[:num_clients], self.stops[:num_clients]
        used = np.zeros(len(self.indices) + 1, dtype=np.int64)
        np.add.at(used, starts, 1)
        np.add.at(used, stops, -1)
        kept = np.cumsum(used[:-1]) > 0
        place = np.concatenate([[0], np.cumsum(kept)])
        return type(self)(place[starts], place[stops], self.indices[kept])

    def after(self, num_clients: int) -> Self:
        """Return the index of the clients after the first `num_clients` ones."""
        return type(self)(self.starts[num_clients:], self.stops[num_clients:], self.indices)

    def __len__(self) -> int:
        """Return the number of clients, K."""
        return len(self.starts)

    def __getitem__(self, client_id: int) -> Int64:
        """Return the rows of one client as a view, which callers must not change. Raises IndexError."""
        return self.indices[self.starts[client_id] : self.stops[client_id]]

    def __iter__(self) -> Iterator[Int64]:
        """Yield the rows of each client, in client order."""
        return (self[client_id] for client_id in range(len(self)))

    def positions(self) -> Self:
        """Return an index of the same slices, whose row i is i: the place of a stored row in `indices`."""
        return type(self)(self.starts, self.stops, np.arange(len(self.indices)))

    def sizes(self) -> Int64:
        """Return the number of rows of each client, int64[K]."""
        return self.stops - self.starts
