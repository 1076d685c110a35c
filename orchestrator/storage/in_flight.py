"""Training tasks that outlive their round, as checkpoints store them."""

from dataclasses import dataclass

from orchestrator.federation.plan import ClientTask


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightTask:
    """A training task that outlives its round, with everything that a resumed run needs to run it again.

    `round_idx`: round of the model that the task trains.
    `number`: position of the task among all tasks of the run.
    `repeat`: as in `ClientTask`.
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
        """The task as the executor runs it."""
        return ClientTask(
            round_idx=self.round_idx,
            position=self.position,
            client_id=self.client_id,
            score=self.score,
            repeat=self.repeat,
        )
