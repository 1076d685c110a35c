"""One phase of a round: submits tasks, waits for their updates, retries what fails.

A round consists of its probes, if the method plans any, and its training.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from orchestrator.aggregation.costs import phase_s
from orchestrator.aggregation.fold import Fold, PhaseResult
from orchestrator.aggregation.phase_aggregator import phase_sums
from orchestrator.aggregation.received_update import ReceivedUpdate
from orchestrator.aggregation.sums import Aggregators
from orchestrator.errors import RoundError
from orchestrator.execution.executor import Executor, TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.plan import RoundPlan, TaskKind
from orchestrator.federation.update import ClientFailure, ClientScore, Outcome, StoredUpdate
from orchestrator.formatting import counted
from orchestrator.rounds.admission import admit, admit_score
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.stopwatch import Stopwatch
from orchestrator.storage.checkpoints.client_memory import ClientMemory

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class SubmittedTasks:
    """Tasks that the executor runs since emulated time `start_s`, in plan order."""

    round_idx: int
    broadcast: Broadcast
    requests: Sequence[TaskRequest]
    handles: Sequence[TaskHandle]
    start_s: float


class PhaseRunner:
    """Runs the phases of one experiment on an executor."""

    def __init__(
        self,
        experiment: Experiment,
        executor: Executor,
        memory: ClientMemory,
        stopwatch: Stopwatch,
        aggregators: Aggregators | None = None,
    ) -> None:
        """`aggregators` None: the driver adds the updates."""
        self._experiment, self._executor, self._memory = experiment, executor, memory
        self._stopwatch, self._aggregators = stopwatch, aggregators

    def submit(
        self,
        plan: RoundPlan,
        state: ServerState,
        *,
        client_states: Mapping[int, Any] | None = None,
        broadcast: Broadcast | None = None,
        score: bool = False,
        start_s: float = 0.0,
    ) -> SubmittedTasks:
        """Submit the tasks of a plan; does not wait.

        `client_states` None: the latest states. `broadcast` is the state's message if it is encoded already. With
        `score`, clients score the models that they trained.
        """
        with self._stopwatch.measure("submit"):
            broadcast = broadcast or Broadcast.of(self._experiment, state)
            states = self._memory.states if client_states is None else client_states
            requests = []
            for task in plan.tasks:
                k = task.client_id
                client_state = states[k] if k in states else self._experiment.algorithm.init_client(k)
                requests.append(broadcast.request(replace(task, score=score), client_state, states))
            handles = self._executor.submit(broadcast.message, requests)
        return SubmittedTasks(plan.round_idx, broadcast, requests, handles, start_s)

    def fold(self, round_idx: int, kind: TaskKind = "train") -> Fold:
        """An empty fold of a training or a probe."""
        sums = (
            phase_sums(self._experiment, kind)
            if self._aggregators is None
            else self._aggregators.sums(round_idx)
        )
        return Fold(self._experiment, round_idx, self._memory, sums)

    def fold_all(self, submitted: SubmittedTasks) -> PhaseResult:
        """Wait for the answers to a probe and fold all of them in plan order.

        Raises RoundError when too many tasks fail.
        """
        fold = self.fold(submitted.round_idx, "probe")
        for update in self.updates(submitted, fold):
            fold.add(update, "used")
        return fold.finish(submitted.broadcast.state.params, phase_s(fold.events))

    def updates(
        self, submitted: SubmittedTasks, fold: Fold, has_message: Collection[int] = ()
    ) -> Iterator[ReceivedUpdate]:
        """Each task's update as soon as it arrives, in plan order. Failures go into `fold.failures`.

        Clients in `has_message` received the broadcast in an earlier phase of the round.
        """
        broadcast = submitted.broadcast
        for request, handle in zip(submitted.requests, submitted.handles, strict=True):
            k = request.task.client_id
            download_bytes = (
                request.unicast.nbytes
                if k in has_message
                else broadcast.download_bytes(request, self._memory.shared_mask(k))
            )
            update = self.update(broadcast, request, handle, submitted.start_s, download_bytes, fold.failures)
            if update is not None:
                fold.note_download(update)
                yield update

    def update(
        self,
        broadcast: Broadcast,
        request: TaskRequest,
        handle: TaskHandle,
        start_s: float,
        download_bytes: int,
        failures: list[ClientFailure],
    ) -> ReceivedUpdate | None:
        """Wait for one task's update; None for a client that the failure policy leaves out."""

        def receive(request: TaskRequest, outcome: Outcome[Any]) -> ReceivedUpdate | ClientFailure:
            return admit(self._experiment, request, outcome, broadcast, download_bytes, start_s)

        return self._with_retries(broadcast, request, handle, failures, receive)

    def scores(
        self, submitted: SubmittedTasks, failures: list[ClientFailure]
    ) -> tuple[list[ClientScore], RoundError | None]:
        """Wait for the scores of evaluation tasks. Failures go into `failures`.

        A RoundError is returned and not raised: the round before the scoring is valid all the same.
        """
        collected: list[ClientScore] = []
        for request, handle in zip(submitted.requests, submitted.handles, strict=True):
            try:
                score = self._with_retries(submitted.broadcast, request, handle, failures, admit_score)
            except RoundError as error:
                return collected, error
            if score is not None:
                collected.append(score)
        return collected, None

    def _with_retries(
        self,
        broadcast: Broadcast,
        request: TaskRequest,
        handle: TaskHandle,
        failures: list[ClientFailure],
        read: Callable[[TaskRequest, Outcome[Any]], R | ClientFailure],
    ) -> R | None:
        """What `read` makes of a task's outcome, after as many retries as the failure policy allows.

        None for a client that the policy leaves out. Raises RoundError when the last retry fails.
        """
        runtime = self._experiment.config.runtime
        tries = 1 + (runtime.max_retries if runtime.failure_policy == "retry" else 0)
        for remaining in reversed(range(tries)):
            with self._stopwatch.measure("wait"):
                outcome = self._executor.result(handle)
            with self._stopwatch.measure("decode"):
                result = read(request, outcome)
            if not isinstance(result, ClientFailure):
                assert not isinstance(outcome, ClientFailure)
                answer = outcome.update if isinstance(outcome, StoredUpdate) else outcome
                self._stopwatch.add_client(answer.seconds)
                return result
            failures.append(result)
            if result.final:
                tries = 1
                break
            if remaining:
                task = replace(request.task, attempt=tries - remaining)
                with self._stopwatch.measure("submit"):
                    (handle,) = self._executor.submit(broadcast.message, [replace(request, task=task)])
        if runtime.failure_policy == "retry":
            last = failures[-1]
            raise RoundError(
                f"{last} (tried {counted(tries, 'time')})\n{last.traceback}",
                round_idx=last.round_idx,
                client_id=last.client_id,
                stage=last.stage,
            )
        return None
