"""What the driver asks of a way to run rounds, synchronous or not, and what it gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.aggregation.fold import PhaseResult
from orchestrator.federation.algorithm import ServerState
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.phase import SubmittedTasks
from orchestrator.storage.client_states import ClientStates
from orchestrator.storage.in_flight import InFlightTask


@dataclass(frozen=True, eq=False, kw_only=True)
class ClientMemory:
    """What is known of clients that took part: their states, and by digest the mask that each holds."""

    states: ClientStates
    shared_masks: dict[int, str] = field(default_factory=dict)

    def remember(self, round_idx: int, phase: PhaseResult) -> None:
        """Let all later tasks build on what the participants of a phase now hold."""
        self.states.stage(round_idx, phase.client_states)
        self.shared_masks.update(phase.shared_masks)


@dataclass(frozen=True, eq=False, kw_only=True)
class RoundInProgress:
    """A round whose clients train: `phases` went before and are folded into `state`.

    `launched` are the tasks of a synchronous round; `waited_s` the emulated seconds until there was a client.
    """

    round_idx: int
    state: ServerState
    phases: Sequence[PhaseResult] = ()
    launched: SubmittedTasks | None = None
    waited_s: float = 0.0
    start_s: float = 0.0


class Rounds(Protocol):
    """A way to run rounds."""

    def begin(
        self, state: ServerState, round_idx: int, now_s: float, broadcast: Broadcast | None, *, score: bool
    ) -> RoundInProgress:
        """Set clients to work from this state at emulated time `now_s`; does not wait for their training.

        `broadcast` is the state's message where it is made already; with `score` clients score what they trained.
        """

    def end(self, begun: RoundInProgress) -> PhaseResult:
        """Wait for the updates that make the round, and fold them."""

    def flights(self) -> Sequence[InFlightTask]:
        """Tasks that outlive the round that ended last, in the order in which they were given out."""

    def restore(self, flights: Sequence[InFlightTask], state_before: Callable[[int], ServerState]) -> None:
        """Give the tasks out again; `state_before` is the server state that a round began with."""
