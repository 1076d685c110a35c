"""How often a run may lose what drives it."""

from typing import final

#: times in a row that a run goes on after a loss without a commit in between
MOST_LOSSES = 3


@final
class RestartCounter:
    """Counts a run's losses of its driver, or of client actors for good; a commit in between begins the count anew."""

    def __init__(self) -> None:
        self.in_a_row, self._num_committed = 0, -1

    def one_more(self, num_committed: int) -> bool:
        """Note a loss after so many commits; whether the run may go on."""
        self.in_a_row = 1 if num_committed > self._num_committed else self.in_a_row + 1
        self._num_committed = max(self._num_committed, num_committed)
        return self.in_a_row <= MOST_LOSSES
