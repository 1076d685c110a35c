"""What a run has learned about its clients: when they took part last, how useful they were, and how long they took.

Legend: K = clients.
"""

import numpy as np
from numpy.typing import NDArray


class ClientHistory:
    """The last participation of each client.

    - `last_round` int64[K]: the round of the last participation; -1: none.
    - `utility` float64[K]: number of samples times the mean training loss of the last participation.
    - `mean_loss` float64[K]: mean training loss of the last participation; NaN: none.
    - `seconds` float64[K]: emulated seconds of the last participation.
    - `round_utility`: the sum of the utilities of each round's clients, by round.
    """

    def __init__(self, num_clients: int) -> None:
        self.last_round: NDArray[np.int64] = np.full(num_clients, -1, np.int64)
        self.utility: NDArray[np.float64] = np.zeros(num_clients)
        self.mean_loss: NDArray[np.float64] = np.full(num_clients, np.nan)
        self.seconds: NDArray[np.float64] = np.zeros(num_clients)
        self.round_utility: dict[int, float] = {}

    def record(
        self, client_id: int, round_idx: int, *, num_samples: int, mean_loss: float, seconds: float
    ) -> None:
        """Store a participation. A loss that is not finite counts as 0."""
        utility = num_samples * mean_loss if np.isfinite(mean_loss) else 0.0
        self.last_round[client_id] = round_idx
        self.utility[client_id], self.seconds[client_id] = utility, seconds
        self.mean_loss[client_id] = mean_loss
        self.round_utility[round_idx] = self.round_utility.get(round_idx, 0.0) + utility

    def rested(self, client_id: int, round_idx: int, cooldown: int) -> bool:
        """Return whether the client did not take part in the last `cooldown` rounds."""
        last = int(self.last_round[client_id])
        return last < 0 or round_idx - last > cooldown
