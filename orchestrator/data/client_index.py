"""Which rows belong to which client, as three arrays: a population is never a list of objects.

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
    """Client k's rows are `indices[starts[k]:stops[k]]`; clients may share a stretch.

    `starts` and `stops` are int64[K], `indices` int64[M].
    """

    starts: Int64
    stops: Int64
    indices: Int64

    @classmethod
    def of_sizes(cls, sizes: Int64, indices: Int64) -> Self:
        """The first client takes the first sizes[0] rows, and so on; the sizes add up to M."""
        stops = np.cumsum(sizes, dtype=np.int64)
        return cls(stops - sizes, stops, indices)

    @classmethod
    def shared(cls, indices: Int64, num_clients: int) -> Self:
        """Every client has all the rows."""
        starts = np.zeros(num_clients, dtype=np.int64)
        return cls(starts, starts + len(indices), indices)

    def repeated(self, num_clients: int) -> Self:
        """For so many clients, of whom client k has the rows of client k mod K; takes 16 bytes a client."""
        which = np.arange(num_clients) % len(self)
        return type(self)(self.starts[which], self.stops[which], self.indices)

    def __len__(self) -> int:
        """K."""
        return len(self.starts)

    def __getitem__(self, client_id: int) -> Int64:
        """Rows of one client, a view that must not be written to. Raises IndexError beyond the population."""
        return self.indices[self.starts[client_id] : self.stops[client_id]]

    def __iter__(self) -> Iterator[Int64]:
        """The clients' rows, in client order."""
        return (self[client_id] for client_id in range(len(self)))

    def sizes(self) -> Int64:
        """int64[K]: number of rows of each client."""
        return self.stops - self.starts
