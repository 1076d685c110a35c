"""Limit how often a run restarts after it has lost its driver or its client actors."""

from typing import final

#: consecutive losses without a checkpoint between them after which a run still restarts
MAX_LOSSES = 3


@final
class RestartCounter:
    """Counts the consecutive losses of a run's driver or client actors; a new checkpoint resets the count."""

    def __init__(self) -> None:
        self.num_losses, self._num_committed = 0, -1

    def record_loss(self, num_committed: int) -> bool:
        """Count a loss after `num_committed` checkpoints; return whether the run may restart."""
        self.num_losses = 1 if num_committed > self._num_committed else self.num_losses + 1
        self._num_committed = max(self._num_committed, num_committed)
        return self.num_losses <= MAX_LOSSES
