"""Evaluation tasks in chunks, so that the driver never keeps every client's message and state at once."""

from collections import deque
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import RoundError
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientFailure, ClientScore
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.phase import PhaseRunner, SubmittedTasks

#: clients in a chunk; the executor runs two chunks at a time
SCORING_CHUNK = 16


class Scoring:
    """Clients that score their own models after a round."""

    def __init__(
        self, phases: PhaseRunner, plan: RoundPlan, state: ServerState, client_states: Mapping[int, Any]
    ) -> None:
        """Submits the first two chunks; `broadcast` is the encoded message of the server state."""
        self._phases, self._plan, self._state, self._client_states = phases, plan, state, client_states
        self._submitted: deque[SubmittedTasks] = deque()
        self._num_submitted = 0
        self._submit(None)
        self.broadcast = self._submitted[0].broadcast
        self._submit(self.broadcast)

    def collect(self, failures: list[ClientFailure]) -> tuple[list[ClientScore], RoundError | None]:
        """All scores in plan order, as `PhaseRunner.scores` gives them."""
        collected: list[ClientScore] = []
        while self._submitted:
            scores, error = self._phases.scores(self._submitted.popleft(), failures)
            collected += scores
            if error is not None:
                return collected, error
            self._submit(self.broadcast)
        return collected, None

    def _submit(self, broadcast: Broadcast | None) -> None:
        tasks = self._plan.tasks[self._num_submitted : self._num_submitted + SCORING_CHUNK]
        if tasks:
            self._num_submitted += len(tasks)
            chunk = RoundPlan(self._plan.round_idx, tasks)
            self._submitted.append(
                self._phases.submit(
                    chunk, self._state, client_states=self._client_states, broadcast=broadcast
                )
            )
