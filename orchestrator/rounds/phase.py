"""One phase of a round: tasks out, outcomes in. A round is its probes, if any, and its training."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from traceback import format_exc
from typing import Any, TypeVar

from orchestrator.aggregation.arrival import Arrival, Decoded, with_dropout
from orchestrator.aggregation.costs import phase_s
from orchestrator.aggregation.fold import Fold, PhaseResult
from orchestrator.errors import RoundError, WireError
from orchestrator.execution.executor import Executor, TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.client_event import participation
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientFailure, ClientScore, ClientUpdate, Outcome
from orchestrator.rounds.admission import admit, require_answer
from orchestrator.rounds.broadcast import Broadcast

R = TypeVar("R")

#: clients in a chunk of evaluation tasks; two chunks are under way
SCORING_CHUNK = 16


@dataclass(frozen=True, eq=False)
class SubmittedTasks:
    """Tasks that are under way since emulated time `start_s`, in the order in which they fold."""

    round_idx: int
    broadcast: Broadcast
    jobs: Sequence[TaskRequest]
    tickets: Sequence[TaskHandle]
    start_s: float


class PhaseRunner:
    """Runs the phases of one experiment on an executor."""

    def __init__(self, experiment: Experiment, executor: Executor) -> None:
        self._experiment, self._executor = experiment, executor
        self._algorithm = experiment.algorithm

    def launch(
        self,
        plan: RoundPlan,
        state: ServerState,
        client_states: Mapping[int, Any],
        *,
        broadcast: Broadcast | None = None,
        score: bool = False,
        start_s: float = 0.0,
    ) -> SubmittedTasks:
        """Hand the tasks of a plan over; does not wait.

        `client_states` holds what clients that took part before bring with them, `broadcast` the state's
        message where it is made already; with `score` the clients score what they trained. `start_s` is the
        emulated time.
        """
        broadcast = broadcast or Broadcast.of(self._experiment, state)
        jobs = []
        for task in plan.tasks:
            k = task.client_id
            brought = client_states[k] if k in client_states else self._algorithm.init_client(k)
            jobs.append(broadcast.job(replace(task, score=score), brought))
        tickets = self._executor.submit(broadcast.message, jobs)
        return SubmittedTasks(plan.round_idx, broadcast, jobs, tickets, start_s)

    def fold(
        self, launched: SubmittedTasks, shared_masks: Mapping[int, str], known: Mapping[int, Any]
    ) -> PhaseResult:
        """Wait for the answers to a probe and fold them in plan order.

        `shared_masks` names the mask that each client held before, `known` has the clients that keep a state.
        Raises RoundError when too many fail.
        """
        fold = Fold(self._experiment, launched.round_idx, known)
        for arrival in self.arrivals(launched, shared_masks, fold):
            fold.take(arrival, "used")
        return fold.finish(launched.broadcast.state.params, phase_s(fold.events))

    def arrivals(
        self,
        launched: SubmittedTasks,
        shared_masks: Mapping[int, str],
        fold: Fold,
        has_message: Collection[int] = (),
    ) -> Iterator[Arrival]:
        """Each task's update once it is there, in plan order; what fails is added to the fold's failures.

        Clients in `has_message` were sent the broadcast before.
        """
        for job, ticket in zip(launched.jobs, launched.tickets, strict=True):
            k = job.task.client_id
            held = fold.shared_masks.get(k, shared_masks.get(k))
            download_bytes = (
                job.unicast.nbytes if k in has_message else launched.broadcast.download_bytes(job, held)
            )
            arrival = self.arrival(
                launched.broadcast, job, ticket, launched.start_s, download_bytes, fold.failures
            )
            if arrival is not None:
                fold.received(arrival)
                yield arrival

    def arrival(
        self,
        broadcast: Broadcast,
        job: TaskRequest,
        ticket: TaskHandle,
        start_s: float,
        download_bytes: int,
        failures: list[ClientFailure],
    ) -> Arrival | None:
        """Wait for one task's update; None where the failure policy leaves the client out."""
        decoded = self._retried(broadcast, job, ticket, failures, self._admit)
        if decoded is None:
            return None
        profile = self._experiment.setting.profile_of(job.task.client_id, job.task.round_idx)
        event = participation(job.task, decoded.sent, profile, download_bytes, start_s=start_s)
        event = with_dropout(self._experiment, job, profile, event)
        return Arrival(decoded, event, broadcast.mask_digest)

    def score(self, plan: RoundPlan, state: ServerState, client_states: Mapping[int, Any]) -> "Scoring":
        """Let clients score their models after this state; a few of them at a time, however many there are."""
        return Scoring(self, plan, state, client_states)

    def scores(
        self, launched: SubmittedTasks, failures: list[ClientFailure]
    ) -> tuple[list[Mapping[str, float]], RoundError | None]:
        """Wait for the scores of evaluation tasks; what fails on the way is added to `failures`.

        An error, where the failure policy makes one of it, is returned and not raised: the round that the
        clients were scored after is good all the same.
        """
        collected: list[Mapping[str, float]] = []
        for job, ticket in zip(launched.jobs, launched.tickets, strict=True):
            try:
                score = self._retried(launched.broadcast, job, ticket, failures, _score)
            except RoundError as error:
                return collected, error
            if score is not None:
                collected.append(score.scores)
        return collected, None

    def _retried(
        self,
        broadcast: Broadcast,
        job: TaskRequest,
        ticket: TaskHandle,
        failures: list[ClientFailure],
        read: Callable[[Broadcast, TaskRequest, Outcome[Any]], R | ClientFailure],
    ) -> R | None:
        """What `read` makes of a task's outcome, after as many further tries as the failure policy grants.

        None where the policy leaves the client out.
        """
        runtime = self._experiment.config.runtime
        tries = 1 + (runtime.max_retries if runtime.failure_policy == "retry" else 0)
        for further in reversed(range(tries)):
            result = read(broadcast, job, self._executor.result(ticket))
            if not isinstance(result, ClientFailure):
                return result
            failures.append(result)
            if result.final:
                tries = 1
                break
            if further:
                again = replace(job.task, attempt=tries - further)
                (ticket,) = self._executor.submit(broadcast.message, [replace(job, task=again)])
        if runtime.failure_policy == "retry":
            raise RoundError(f"{failures[-1]} (tried {tries} times)\n{failures[-1].traceback}")
        return None

    def _admit(
        self, broadcast: Broadcast, job: TaskRequest, outcome: Outcome[Any]
    ) -> Decoded | ClientFailure:
        """What is in an update; what may not count is its client's failure."""
        if isinstance(outcome, ClientFailure):
            return outcome
        assert isinstance(outcome, ClientUpdate)
        received = broadcast.received_by(job)
        try:
            return admit(self._algorithm, job, outcome, received)
        except Exception as error:  # a method's `unpack` meets whatever a client sends
            return _refused(job, error)


class Scoring:
    """Evaluation tasks that go out in chunks, so that not every client's message and state is held at once."""

    def __init__(
        self, runner: PhaseRunner, plan: RoundPlan, state: ServerState, client_states: Mapping[int, Any]
    ) -> None:
        """Launches the first two chunks; `broadcast` is the state's message."""
        self._runner, self._plan, self._state, self._client_states = runner, plan, state, client_states
        self._launched: deque[SubmittedTasks] = deque()
        self._num_launched = 0
        self._launch(None)
        self.broadcast = self._launched[0].broadcast
        self._launch(self.broadcast)

    def collect(self, failures: list[ClientFailure]) -> tuple[list[Mapping[str, float]], RoundError | None]:
        """All scores, in the plan's order, as `PhaseRunner.scores` gives them."""
        collected: list[Mapping[str, float]] = []
        while self._launched:
            scores, error = self._runner.scores(self._launched.popleft(), failures)
            collected += scores
            if error is not None:
                return collected, error
            self._launch(self.broadcast)
        return collected, None

    def _launch(self, broadcast: Broadcast | None) -> None:
        tasks = self._plan.tasks[self._num_launched : self._num_launched + SCORING_CHUNK]
        if tasks:
            self._num_launched += len(tasks)
            chunk = RoundPlan(self._plan.round_idx, tasks)
            self._launched.append(
                self._runner.launch(chunk, self._state, self._client_states, broadcast=broadcast)
            )


def _score(broadcast: Broadcast, job: TaskRequest, outcome: Outcome[Any]) -> ClientScore | ClientFailure:
    if isinstance(outcome, ClientFailure):
        return outcome
    assert isinstance(outcome, ClientScore)
    try:
        require_answer(job.task, outcome)
    except WireError as error:
        return _refused(job, error)
    return outcome


def _refused(job: TaskRequest, error: Exception) -> ClientFailure:
    task = job.task
    return ClientFailure(
        round_idx=task.round_idx,
        position=task.position,
        client_id=task.client_id,
        stage="admission",
        cause=f"{type(error).__name__}: {error}",
        traceback="" if isinstance(error, WireError) else format_exc(),
    )
