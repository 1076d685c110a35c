"""What a round asks of its clients. `round_idx` is 0-based everywhere: in code, in metrics and in file names."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTask:
    """One client's work in one round.

    `position` is its place in the plan: updates fold in that order, and (round_idx, position) is the
    identity under which a replayed result is recognised, also when a client is drawn twice.
    """

    round_idx: int
    position: int
    client_id: int


@dataclass(frozen=True, slots=True)
class RoundPlan:
    """The tasks of one round, in the order in which their updates fold."""

    round_idx: int
    tasks: tuple[ClientTask, ...]
