"""The interface between the driver and the two kinds of rounds, synchronous and asynchronous."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.aggregation.fold import PhaseResult
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.client_event import ClientEvent
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.phase import SubmittedTasks
from orchestrator.storage.checkpoints.in_flight import InFlightTask


@dataclass(frozen=True, eq=False, kw_only=True)
class RoundInProgress:
    """A round whose clients train.

    The results of earlier `phases` of the round are already part of `state`. `submitted` are the training tasks of a
    synchronous round. Training starts at emulated time `start_s`; before, the round waited `waited_s` for a client.
    """

    round_idx: int
    state: ServerState
    phases: Sequence[PhaseResult] = ()
    submitted: SubmittedTasks | None = None
    waited_s: float = 0.0
    start_s: float = 0.0


class Rounds(Protocol):
    """A kind of rounds."""

    def begin(
        self, state: ServerState, round_idx: int, now_s: float, broadcast: Broadcast | None, *, score: bool
    ) -> RoundInProgress:
        """Start the clients' training from this state at emulated time `now_s`; does not wait for the training.

        `broadcast` is the state's message if it is encoded already. With `score`, clients score what they trained.
        """

    def end(self, started: RoundInProgress) -> PhaseResult:
        """Wait for the updates of the round and fold them."""

    def in_flight(self) -> Sequence[InFlightTask]:
        """Tasks that outlive the last round, in the order in which they were submitted."""

    def restore(
        self,
        in_flight: Sequence[InFlightTask],
        state_before: Callable[[int], ServerState],
        events: Iterable[ClientEvent],
    ) -> None:
        """Submit tasks of a checkpoint again; `state_before` gives the server state with which a round began.

        `events` are the participations of the committed rounds, from which guided sampling learns again.
        """
