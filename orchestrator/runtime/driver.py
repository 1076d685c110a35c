"""The driver: runs the rounds, folds the updates, commits. Plain Python; Ray wraps it elsewhere.

While the clients of round r + 1 train, the driver evaluates, commits and reports round r: none of that is on
a round's path.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from orchestrator.errors import RoundError, WireError
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, unpack_model
from orchestrator.federation.update import ClientFailure, ClientUpdate, Outcome
from orchestrator.runtime.broadcast import Broadcast
from orchestrator.runtime.checkpoint import Commit, Templates
from orchestrator.runtime.evaluator import Evaluator
from orchestrator.runtime.executor import Executor, Job, Ticket
from orchestrator.runtime.experiment import Experiment, params_sha256
from orchestrator.runtime.export import export_model
from orchestrator.runtime.ledger import ClientEvent, add_totals, participation, round_costs
from orchestrator.runtime.store import RunStore
from orchestrator.sparsity.wire import decode
from orchestrator.tracking.record import RoundRecord


@dataclass(frozen=True, eq=False, kw_only=True)
class Progress:
    """The run between two rounds: what a commit holds, with every client's state and not only the last round's."""

    next_round: int
    server_state: Any
    client_states: dict[int, Any] = field(default_factory=dict)
    held_masks: dict[int, str] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRound:
    """A folded round that is not yet evaluated and committed."""

    round_idx: int
    state: ServerState
    client_states: dict[int, Any]
    held_masks: dict[int, str]
    totals: dict[str, float]
    metrics: dict[str, float]
    events: Sequence[ClientEvent]
    failures: Sequence[ClientFailure]


class Driver:
    """Runs one experiment on an executor, from its last commit to its last round."""

    def __init__(
        self,
        experiment: Experiment,
        executor: Executor,
        store: RunStore,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Restores the last commit, if there is one. `now_s` gives the wall clock in seconds since the epoch."""
        self._experiment, self._executor, self._store, self._now_s = experiment, executor, store, now_s
        self._algorithm = experiment.algorithm
        self._config = experiment.config
        self._evaluator = Evaluator(experiment)
        self._stop_requested = False
        self._progress = self._restore()

    def stop(self) -> None:
        """Ask for an end after the round in progress; it is still committed."""
        self._stop_requested = True

    def run(self) -> Iterator[RoundRecord]:
        """Run the rounds that are left, yielding each one's record once it is committed.

        Raises RoundError when a round cannot be completed under the failure policy.
        """
        progress = self._progress
        previous: FinishedRound | None = None
        started_s = self._now_s()
        while progress.next_round < self._config.training.rounds and not self._stop_requested:
            try:
                broadcast = Broadcast.of(self._experiment, progress.server_state)
                jobs, tickets = self._launch(progress, broadcast)
            finally:  # a round that cannot begin must not cost the one before, which is not yet committed
                if previous is not None:
                    yield self._conclude(previous)
            previous = self._fold(progress, broadcast, jobs, tickets, started_s)
            started_s += previous.metrics["time/wall_s"]
            progress = Progress(
                next_round=previous.round_idx + 1,
                server_state=previous.state,
                client_states=progress.client_states | previous.client_states,
                held_masks=progress.held_masks | previous.held_masks,
                totals=previous.totals,
            )
        if previous is not None:
            yield self._conclude(previous)
        self._progress = progress
        if not self._stop_requested:
            export_model(self._experiment, progress.server_state.params, self._store.folder / "model")

    def params_sha256(self) -> str:
        """Digest of the global parameters after the last round that `run` completed."""
        return params_sha256(self._progress.server_state.params)

    def _restore(self) -> Progress:
        fresh = self._algorithm.init(torch.from_numpy(self._experiment.initial.copy()))
        templates = Templates(server=fresh, client=self._algorithm.init_client(0))
        commit = self._store.restore(templates)
        if commit is None:
            return Progress(next_round=0, server_state=fresh)
        return Progress(
            next_round=commit.round_idx + 1,
            server_state=commit.server_state,
            client_states=dict(commit.client_states),
            held_masks=dict(commit.held_masks),
            totals=dict(commit.totals),
        )

    def _launch(self, progress: Progress, broadcast: Broadcast) -> tuple[list[Job], tuple[Ticket, ...]]:
        plan = self._algorithm.plan(progress.server_state, progress.next_round)
        states = progress.client_states
        jobs = [
            Job(task, states[k] if (k := task.client_id) in states else self._algorithm.init_client(k))
            for task in plan.tasks
        ]
        return jobs, self._executor.submit(broadcast.message, jobs)

    def _fold(
        self,
        progress: Progress,
        broadcast: Broadcast,
        jobs: Sequence[Job],
        tickets: Sequence[Ticket],
        started_s: float,
    ) -> FinishedRound:
        """Fold the updates in plan order and take the server's step."""
        round_idx, state = progress.next_round, progress.server_state
        aggregator = self._algorithm.aggregator()
        events: list[ClientEvent] = []
        client_states: dict[int, Any] = {}
        held_masks: dict[int, str] = {}
        failures: list[ClientFailure] = []
        deadline_s, num_folded = self._config.fleet.deadline_s, 0
        for job, ticket in zip(jobs, tickets, strict=True):
            collected = self._collect(broadcast, job, ticket, failures)
            if collected is None:
                continue
            outcome, model = collected
            profile = self._experiment.profile_of(outcome.client_id)
            held = held_masks.get(outcome.client_id, progress.held_masks.get(outcome.client_id))
            events.append(participation(outcome, profile, broadcast.download_bytes(held)))
            if broadcast.mask_digest is not None:
                held_masks[outcome.client_id] = broadcast.mask_digest
            if deadline_s is not None and events[-1].total_s > deadline_s:
                continue
            if outcome.client_state is not None or outcome.client_id in progress.client_states:
                client_states[outcome.client_id] = outcome.client_state
            num_folded += 1
            aggregator.add(
                Contribution(
                    weight=self._algorithm.weight(outcome.num_examples),
                    values=model.values,
                    mask=model.mask,
                    start=broadcast.received.values,
                )
            )
        self._require_enough(round_idx, num_folded, failures)
        aggregate = aggregator.finish(state.params)
        next_state = self._algorithm.server_update(state, aggregate, round_idx)
        costs = round_costs(events, len(failures), self._now_s() - started_s, deadline_s)
        totals = add_totals(progress.totals, costs)
        return FinishedRound(
            round_idx=round_idx,
            state=next_state,
            client_states=client_states,
            held_masks=held_masks,
            totals=totals,
            metrics=costs
            | totals
            | self._sparsity(state, next_state)
            | dict(self._algorithm.server_metrics(state, aggregate, next_state)),
            events=events,
            failures=failures,
        )

    def _collect(
        self, broadcast: Broadcast, job: Job, ticket: Ticket, failures: list[ClientFailure]
    ) -> tuple[ClientUpdate[Any], ModelValues] | None:
        """One update and the model in it, after as many further tries as the failure policy grants.

        None where the policy leaves the client out.
        """
        runtime = self._config.runtime
        tries = 1 + (runtime.max_retries if runtime.failure_policy == "retry" else 0)
        for further in reversed(range(tries)):
            outcome = self._decode(broadcast, self._executor.result(ticket))
            if not isinstance(outcome, ClientFailure):
                return outcome
            failures.append(outcome)
            if further:
                (ticket,) = self._executor.submit(broadcast.message, [job])
        if runtime.failure_policy == "retry":
            raise RoundError(f"{failures[-1]} (tried {tries} times)\n{failures[-1].traceback}")
        return None

    def _decode(
        self, broadcast: Broadcast, outcome: Outcome[Any]
    ) -> tuple[ClientUpdate[Any], ModelValues] | ClientFailure:
        """The model in an update; what is not a valid message is its client's failure."""
        if isinstance(outcome, ClientFailure):
            return outcome
        try:
            payload = decode(outcome.buffer, known_masks=broadcast.known_masks)
            return outcome, unpack_model(self._experiment.setting.layout, payload)
        except WireError as error:
            return ClientFailure(
                round_idx=outcome.round_idx,
                position=outcome.position,
                client_id=outcome.client_id,
                stage="decode",
                cause=f"{type(error).__name__}: {error}",
            )

    def _require_enough(self, round_idx: int, num_updates: int, failures: Sequence[ClientFailure]) -> None:
        if num_updates < (least := self._config.runtime.min_clients):
            late = f"no update came within fleet.deadline_s={self._config.fleet.deadline_s}"
            causes = "; ".join(str(f) for f in failures[:3]) or late
            raise RoundError(
                f"round {round_idx} has {num_updates} updates, runtime.min_clients={least}: {causes}"
            )

    def _sparsity(self, before: ServerState, after: ServerState) -> dict[str, float]:
        density = self._experiment.setting.layout.density(after.mask)
        if before.mask is None or after.mask is None:
            return {"sparsity/density": density, "sparsity/mask_change": 0.0}
        changed = int(torch.count_nonzero(before.mask != after.mask))
        share = changed / max(1, self._experiment.setting.layout.num_maskable)
        return {"sparsity/density": density, "sparsity/mask_change": share}

    def _conclude(self, finished: FinishedRound) -> RoundRecord:
        """Evaluate, commit, and only then report a round."""
        training = self._config.training
        last = self._stop_requested or finished.round_idx + 1 == training.rounds
        metrics = dict(finished.metrics)
        if last or (finished.round_idx + 1) % training.eval_every == 0:
            metrics |= self._evaluator.evaluate(finished.state.params)
        record = RoundRecord(finished.round_idx, round(self._now_s() * 1000), metrics)
        commit = Commit(
            round_idx=finished.round_idx,
            server_state=finished.state,
            client_states=finished.client_states,
            held_masks=finished.held_masks,
            totals=finished.totals,
            log_bytes={},
        )
        events = [event.to_line() for event in finished.events]
        failures = [failure.to_line() for failure in finished.failures]
        logs = {"metrics.jsonl": [record.to_line()], "events.jsonl": events, "failures.jsonl": failures}
        self._store.commit(commit, logs)
        return record
