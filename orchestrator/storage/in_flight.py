"""Training tasks that outlive their round, as commits name them."""

from dataclasses import dataclass

from orchestrator.federation.plan import ClientTask


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightTask:
    """A training task that outlives its round: all that it takes to run it again after a resumption.

    `round_idx` is the round of the model that it began with, `number` its place among all tasks of the run,
    `repeat` as in ClientTask.
    """

    round_idx: int
    position: int
    client_id: int
    score: bool
    start_s: float
    download_bytes: int
    number: int = 0
    repeat: int = 0

    @property
    def task(self) -> ClientTask:
        """The task itself."""
        return ClientTask(
            round_idx=self.round_idx,
            position=self.position,
            client_id=self.client_id,
            score=self.score,
            repeat=self.repeat,
        )
