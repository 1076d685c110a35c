"""One phase of a round: tasks out, outcomes in, updates folded. A round is its probes, if any, and its training."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from orchestrator.errors import RoundError, WireError
from orchestrator.federation.aggregate import Aggregate, Aggregator, Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, beside_model, known_masks
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientFailure, ClientScore, ClientUpdate, Outcome
from orchestrator.runtime.broadcast import Broadcast
from orchestrator.runtime.executor import Executor, Job, Ticket
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.ledger import ClientEvent, participation
from orchestrator.sparsity.payload import Payload
from orchestrator.sparsity.wire import decode

R = TypeVar("R")

#: clients in a chunk of evaluation tasks; two chunks are under way
SCORED_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Launched:
    """Tasks that are under way, in the order in which they fold."""

    round_idx: int
    broadcast: Broadcast
    jobs: Sequence[Job]
    tickets: Sequence[Ticket]


@dataclass(frozen=True, eq=False, kw_only=True)
class Folded:
    """A phase that is over: what its updates came to, and what its participants now hold."""

    aggregate: Aggregate
    events: Sequence[ClientEvent]
    failures: Sequence[ClientFailure]
    client_states: Mapping[int, Any]
    held_masks: Mapping[int, str]
    trained_accuracy: Sequence[float]


@dataclass(frozen=True, eq=False)
class _Update:
    """One decoded update: the model that its client received and the one that it sent, in full coordinates."""

    job: Job
    sent: ClientUpdate[Any]
    received: ModelValues | None
    model: ModelValues | None
    items: Payload


@dataclass(eq=False)
class _Tally:
    """A phase being folded."""

    aggregator: Aggregator
    events: list[ClientEvent] = field(default_factory=list)
    failures: list[ClientFailure] = field(default_factory=list)
    client_states: dict[int, Any] = field(default_factory=dict)
    held_masks: dict[int, str] = field(default_factory=dict)
    trained_accuracy: list[float] = field(default_factory=list)
    num_folded: int = 0


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
    ) -> Launched:
        """Hand the tasks of a plan over; does not wait.

        `client_states` holds what clients that took part before bring with them, `broadcast` the state's
        message where it is made already; with `score` the clients score what they trained.
        """
        broadcast = broadcast or Broadcast.of(self._experiment, state)
        jobs = []
        for task in plan.tasks:
            k = task.client_id
            brought = client_states[k] if k in client_states else self._algorithm.init_client(k)
            jobs.append(broadcast.job(replace(task, score=score), brought))
        tickets = self._executor.submit(broadcast.message, jobs)
        return Launched(plan.round_idx, broadcast, jobs, tickets)

    def fold(self, launched: Launched, held_masks: Mapping[int, str], known: Mapping[int, Any]) -> Folded:
        """Wait for the updates and fold them in plan order.

        `held_masks` names the mask that each client held before, `known` has the clients that keep a state.
        Raises RoundError when too many fail.
        """
        tally = _Tally(self._algorithm.aggregator())
        for job, ticket in zip(launched.jobs, launched.tickets, strict=True):
            update = self._retried(launched, job, ticket, tally.failures, self._decode)
            if update is not None:
                self._add(launched.broadcast, update, tally, held_masks, known)
        self._require_enough(launched.round_idx, tally)
        return Folded(
            aggregate=tally.aggregator.finish(launched.broadcast.state.params),
            events=tally.events,
            failures=tally.failures,
            client_states=tally.client_states,
            held_masks=tally.held_masks,
            trained_accuracy=tally.trained_accuracy,
        )

    def score(self, plan: RoundPlan, state: ServerState, client_states: Mapping[int, Any]) -> "Scoring":
        """Let clients score their models after this state; a few of them at a time, however many there are."""
        return Scoring(self, plan, state, client_states)

    def scores(
        self, launched: Launched, failures: list[ClientFailure]
    ) -> tuple[list[Mapping[str, float]], RoundError | None]:
        """Wait for the scores of evaluation tasks; what fails on the way is added to `failures`.

        An error, where the failure policy makes one of it, is returned and not raised: the round that the
        clients were scored after is good all the same.
        """
        collected: list[Mapping[str, float]] = []
        for job, ticket in zip(launched.jobs, launched.tickets, strict=True):
            try:
                score = self._retried(launched, job, ticket, failures, _score)
            except RoundError as error:
                return collected, error
            if score is not None:
                collected.append(score.scores)
        return collected, None

    def _add(
        self,
        broadcast: Broadcast,
        update: _Update,
        tally: _Tally,
        held_masks: Mapping[int, str],
        known: Mapping[int, Any],
    ) -> None:
        """Account for one update and, unless it is late, fold it."""
        sent = update.sent
        k, deadline_s = sent.client_id, self._experiment.config.fleet.deadline_s
        held = tally.held_masks.get(k, held_masks.get(k))
        download_bytes = broadcast.download_bytes(update.job, held)
        event = participation(update.job.task, sent, self._experiment.profile_of(k), download_bytes)
        tally.events.append(event)
        if broadcast.mask_digest is not None:
            tally.held_masks[k] = broadcast.mask_digest
        if deadline_s is not None and update.job.task.kind == "train" and event.total_s > deadline_s:
            return
        if sent.client_state is not None or k in known:
            tally.client_states[k] = sent.client_state
        if "trained_accuracy" in sent.metrics:
            tally.trained_accuracy.append(sent.metrics["trained_accuracy"])
        tally.num_folded += 1
        tally.aggregator.add(
            Contribution(
                client_id=k,
                weight=self._algorithm.weight(sent.num_examples),
                values=None if update.model is None else update.model.values,
                mask=None if update.model is None else update.model.mask,
                start=None if update.received is None else update.received.values,
                items=update.items,
            )
        )

    def _retried(
        self,
        launched: Launched,
        job: Job,
        ticket: Ticket,
        failures: list[ClientFailure],
        read: Callable[[Broadcast, Job, Outcome[Any]], R | ClientFailure],
    ) -> R | None:
        """What `read` makes of a task's outcome, after as many further tries as the failure policy grants.

        None where the policy leaves the client out.
        """
        runtime = self._experiment.config.runtime
        tries = 1 + (runtime.max_retries if runtime.failure_policy == "retry" else 0)
        for further in reversed(range(tries)):
            result = read(launched.broadcast, job, self._executor.result(ticket))
            if not isinstance(result, ClientFailure):
                return result
            failures.append(result)
            if further:
                (ticket,) = self._executor.submit(launched.broadcast.message, [job])
        if runtime.failure_policy == "retry":
            raise RoundError(f"{failures[-1]} (tried {tries} times)\n{failures[-1].traceback}")
        return None

    def _decode(self, broadcast: Broadcast, job: Job, outcome: Outcome[Any]) -> _Update | ClientFailure:
        """What is in an update; what is not a valid message is its client's failure."""
        if isinstance(outcome, ClientFailure):
            return outcome
        assert isinstance(outcome, ClientUpdate)
        received = broadcast.received_by(job)
        known = known_masks(self._experiment.setting.layout, None if received is None else received.mask)
        try:
            payload = decode(outcome.buffer, known_masks=known)
            model = self._algorithm.unpack(payload, job.task, job.client_state)
            return _Update(job, outcome, received, model, beside_model(payload))
        except WireError as error:
            return ClientFailure(
                round_idx=outcome.round_idx,
                position=outcome.position,
                client_id=outcome.client_id,
                stage="decode",
                cause=f"{type(error).__name__}: {error}",
            )

    def _require_enough(self, round_idx: int, tally: _Tally) -> None:
        config = self._experiment.config
        if tally.num_folded < (least := config.runtime.min_clients):
            late = f"no update came within fleet.deadline_s={config.fleet.deadline_s}"
            causes = "; ".join(str(f) for f in tally.failures[:3]) or late
            raise RoundError(
                f"round {round_idx} has {tally.num_folded} updates, runtime.min_clients={least}: {causes}"
            )


class Scoring:
    """Evaluation tasks that go out in chunks, so that not every client's message and state is held at once."""

    def __init__(
        self, runner: PhaseRunner, plan: RoundPlan, state: ServerState, client_states: Mapping[int, Any]
    ) -> None:
        """Launches the first two chunks; `broadcast` is the state's message."""
        self._runner, self._plan, self._state, self._client_states = runner, plan, state, client_states
        self._launched: deque[Launched] = deque()
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
        tasks = self._plan.tasks[self._num_launched : self._num_launched + SCORED_AT_ONCE]
        if tasks:
            self._num_launched += len(tasks)
            chunk = RoundPlan(self._plan.round_idx, tasks)
            self._launched.append(
                self._runner.launch(chunk, self._state, self._client_states, broadcast=broadcast)
            )


def _score(broadcast: Broadcast, job: Job, outcome: Outcome[Any]) -> ClientScore | ClientFailure:
    assert not isinstance(outcome, ClientUpdate)
    return outcome
