"""The tasks of a round. `round_idx` counts from 0 everywhere: in code, in metrics and in file names."""

from dataclasses import dataclass
from typing import Literal

TaskKind = Literal["train", "probe", "loss", "evaluate", "finetune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTask:
    """One client's work in one round.

    | kind | the client |
    | --- | --- |
    | `train` | trains and sends an update |
    | `probe` | answers before the round trains, for example with a saliency score |
    | `loss` | measures the received model's loss on its own samples, for loss-based client selection |
    | `evaluate` | scores the model that it would use now |
    | `finetune` | scores the same model, then a copy that it has trained further |

    With `score`, a training client also scores its trained model.

    `position` is the task's index in the plan. Updates are averaged in this order, and (round_idx, kind, position)
    identifies a result, also if a client is sampled twice. `repeat` counts how often the plan samples the client before
    this task; each repeat trains on other batches. `attempt` counts the failed attempts of this task; no result
    depends on `attempt`. `probe_idx` tells the probes of a method apart that asks several times.
    """

    round_idx: int
    position: int
    client_id: int
    kind: TaskKind = "train"
    score: bool = False
    repeat: int = 0
    attempt: int = 0
    probe_idx: int = 0

    @property
    def stream_path(self) -> tuple[str | int, ...]:
        """The path with which the names of the task's random streams start."""
        again = ("repeat", self.repeat) if self.repeat else ()
        return ("client", self.round_idx, self.client_id, *again)


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """The tasks of one phase of a round, in the order in which their updates are averaged."""

    round_idx: int
    tasks: tuple[ClientTask, ...]

    @classmethod
    def of(
        cls, round_idx: int, client_ids: "tuple[int, ...]", kind: TaskKind = "train", probe_idx: int = 0
    ) -> "RoundPlan":
        """One task of this kind for each client, in the given order."""
        repeated = len(set(client_ids)) < len(client_ids)
        tasks = (
            ClientTask(
                round_idx=round_idx,
                position=position,
                client_id=client_id,
                kind=kind,
                repeat=client_ids[:position].count(client_id) if repeated else 0,
                probe_idx=probe_idx,
            )
            for position, client_id in enumerate(client_ids)
        )
        return cls(round_idx, tuple(tasks))
