"""What a round asks of its clients. `round_idx` is 0-based everywhere: in code, in metrics and in file names."""

from dataclasses import dataclass
from typing import Literal

TaskKind = Literal["train", "probe", "loss", "evaluate", "finetune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTask:
    """One client's work in one round.

    `train` gives an update. `probe` answers a question before the round trains, such as a saliency score.
    `loss` says how the received model does on the client's samples, for who selects by it.
    `evaluate` scores the model that the client would use now; `finetune` scores it and then a copy trained
    further. `score` asks a training client to score its model afterwards too.

    `position` is its place in the plan: updates fold in that order, and (round_idx, kind, position) is the
    identity under which a replayed result is recognised, also when a client is drawn twice. `repeat` counts how
    often its client was drawn before for the same model, so that it trains on other batches then. `attempt` counts
    the tries of this very task that have failed; no result depends on it.
    """

    round_idx: int
    position: int
    client_id: int
    kind: TaskKind = "train"
    score: bool = False
    repeat: int = 0
    attempt: int = 0

    @property
    def stream_path(self) -> tuple[str | int, ...]:
        """Where the task's own random streams begin."""
        again = ("repeat", self.repeat) if self.repeat else ()
        return ("client", self.round_idx, self.client_id, *again)


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """The tasks of one phase of a round, in the order in which their updates fold."""

    round_idx: int
    tasks: tuple[ClientTask, ...]

    @classmethod
    def of(cls, round_idx: int, client_ids: "tuple[int, ...]", kind: TaskKind = "train") -> "RoundPlan":
        """One task of that kind for each client, in the given order."""
        repeated = len(set(client_ids)) < len(client_ids)
        tasks = (
            ClientTask(
                round_idx=round_idx,
                position=position,
                client_id=client_id,
                kind=kind,
                repeat=client_ids[:position].count(client_id) if repeated else 0,
            )
            for position, client_id in enumerate(client_ids)
        )
        return cls(round_idx, tuple(tasks))
