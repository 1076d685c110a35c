"""The driver: runs the rounds, folds the updates, commits. Plain Python; Ray wraps it elsewhere.

While the clients of round r + 1 train, the driver evaluates the global model, commits and reports round r: none
of that is on a round's path. Where clients score models of their own, their tasks come before that training.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from orchestrator.aggregation.costs import add_totals, round_costs
from orchestrator.aggregation.fold import PhaseResult
from orchestrator.execution.executor import Executor
from orchestrator.experiment.experiment import Experiment, params_sha256
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from orchestrator.rounds.asynchronous import AsynchronousRounds
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.evaluator import Evaluator, spread_scores
from orchestrator.rounds.phase import PhaseRunner, Scoring
from orchestrator.rounds.protocol import ClientMemory, RoundInProgress, Rounds
from orchestrator.rounds.synchronous import SynchronousRounds
from orchestrator.storage.checkpoint import Checkpoint, RestoredRun, Templates
from orchestrator.storage.export import export_model
from orchestrator.storage.in_flight import InFlightTask
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord


@dataclass(frozen=True, eq=False, kw_only=True)
class RunState:
    """The run between two rounds, but for what its clients keep."""

    next_round: int
    server_state: Any
    totals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRound:
    """A folded round that is not yet committed; `scoring` are the clients that score their models after it."""

    round_idx: int
    state: ServerState
    shared_masks: dict[int, str]
    totals: dict[str, float]
    metrics: dict[str, float]
    phases: Sequence[PhaseResult]
    flights: Sequence[InFlightTask]
    last: bool
    scoring: Scoring | None


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
        self._experiment, self._store, self._now_s = experiment, store, now_s
        self._phases = PhaseRunner(experiment, executor)
        self._algorithm = experiment.algorithm
        self._config = experiment.config
        self._evaluator = Evaluator(experiment)
        self._stop_requested = False
        fresh = self._algorithm.init(torch.from_numpy(experiment.initial.copy()))
        last = store.restore(Templates(server=fresh, client=self._algorithm.init_client(0)))
        self._progress, self._memory = self._resumed(last) if last else self._new(fresh)
        kind = AsynchronousRounds if self._config.asynchrony.kind != "none" else SynchronousRounds
        self._rounds: Rounds = kind(experiment, self._phases, self._memory)
        if last is not None and self._progress.next_round < self._config.training.rounds:
            self._rounds.restore(
                last.flights, lambda round_idx: last.earlier_states[round_idx - 1] if round_idx else fresh
            )

    def stop(self) -> None:
        """Ask for an end after the round in progress; it is still committed."""
        self._stop_requested = True

    def run(self) -> Generator[RoundRecord, None, None]:
        """Run the rounds that are left, yielding each one's record once it is committed.

        Raises RoundError when a round cannot be completed under the failure policy.
        """
        progress = self._progress
        previous: FinishedRound | None = None
        broadcast: Broadcast | None = None
        started_s = self._now_s()
        while progress.next_round < self._config.training.rounds and not self._stop_requested:
            try:
                begun = self._begin(progress, broadcast)
            finally:  # a round that cannot begin must not cost the one before, which is not yet committed
                if previous is not None:
                    yield self._conclude(previous)
            previous, broadcast = self._end(begun, progress, started_s)
            started_s += previous.metrics["time/wall_s"]
            progress = _after(progress, previous)
        if previous is not None:
            yield self._conclude(previous)
        self._progress = progress
        if not self._stop_requested:
            export_model(self._experiment, progress.server_state.params, self._store.folder / "model")

    def params_sha256(self) -> str:
        """Digest of the global parameters after the last round that `run` completed."""
        return params_sha256(self._progress.server_state.params)

    def _new(self, fresh: ServerState) -> tuple[RunState, ClientMemory]:
        states = self._store.client_states(self._algorithm.init_client(0))
        return RunState(next_round=0, server_state=fresh), ClientMemory(states=states)

    def _resumed(self, last: RestoredRun) -> tuple[RunState, ClientMemory]:
        progress = RunState(
            next_round=last.round_idx + 1, server_state=last.server_state, totals=dict(last.totals)
        )
        return progress, ClientMemory(states=last.client_states, shared_masks=last.shared_masks)

    def _begin(self, progress: RunState, broadcast: Broadcast | None) -> RoundInProgress:
        round_idx = progress.next_round
        return self._rounds.begin(
            progress.server_state,
            round_idx,
            progress.totals.get("time/emulated_s_total", 0.0),
            broadcast,
            score=self._evaluator.is_due(round_idx, last=self._is_last(round_idx)),
        )

    def _end(
        self, begun: RoundInProgress, progress: RunState, started_s: float
    ) -> tuple[FinishedRound, Broadcast | None]:
        """Fold the updates, take the server's step, and let clients score what they now have.

        The broadcast that the scoring needed is the next round's, where there is one.
        """
        round_idx, state = begun.round_idx, begun.state
        training = self._rounds.end(begun)
        self._memory.remember(round_idx, training)
        next_state = self._algorithm.server_update(state, training.aggregate, round_idx)
        phases = [*begun.phases, training]
        last = self._is_last(round_idx)
        scoring = None
        plan = self._evaluator.plan(round_idx, last=last)
        if plan.tasks:
            scoring = self._phases.score(plan, next_state, self._memory.states.after(round_idx))
        costs = round_costs(
            [event for phase in phases for event in phase.events],
            emulated_s=begun.waited_s + sum(phase.seconds for phase in phases),
            num_failures=sum(len(phase.failures) for phase in phases),
            wall_s=self._now_s() - started_s,
        )
        costs["time/waited_s"] = begun.waited_s + training.waited_s
        costs["fleet/stragglers"] += training.num_kept
        costs["fleet/in_flight"] = len(self._rounds.flights())
        totals = add_totals(progress.totals, costs)
        metrics = costs | totals | self._sparsity(state, training.aggregate, next_state)
        metrics |= spread_scores(training.trained_scores)
        metrics |= self._algorithm.server_metrics(state, training.aggregate, next_state)
        finished = FinishedRound(
            round_idx=round_idx,
            state=next_state,
            shared_masks={k: digest for phase in phases for k, digest in phase.shared_masks.items()},
            totals=totals,
            metrics=metrics,
            phases=phases,
            flights=self._rounds.flights(),
            last=last,
            scoring=scoring,
        )
        return finished, None if scoring is None else scoring.broadcast

    def _is_last(self, round_idx: int) -> bool:
        return self._stop_requested or round_idx + 1 == self._config.training.rounds

    def _sparsity(self, before: ServerState, aggregate: Aggregate, after: ServerState) -> dict[str, float]:
        layout, mask_change = self._experiment.setting.layout, 0.0
        if before.mask is not None and after.mask is not None:
            changed = int(torch.count_nonzero(before.mask != after.mask))
            mask_change = changed / max(1, layout.num_maskable)
        metrics = {"sparsity/density": layout.density(after.mask), "sparsity/mask_change": mask_change}
        if aggregate.coverage is not None and aggregate.total_weight and layout.num_maskable:
            held = sum(float(aggregate.coverage[s.slice].sum()) for s in layout.maskable)
            metrics["sparsity/client_density"] = held / (aggregate.total_weight * layout.num_maskable)
        return metrics

    def _conclude(self, finished: FinishedRound) -> RoundRecord:
        """Evaluate, commit, and only then report a round.

        Raises RoundError, after the commit, when the clients could not be scored under the failure policy.
        """
        metrics = dict(finished.metrics)
        if self._evaluator.is_due(finished.round_idx, last=finished.last or self._stop_requested):
            metrics |= self._evaluator.evaluate(finished.state.params)
        failures = [f for phase in finished.phases for f in phase.failures]
        problem = None
        if finished.scoring is not None:
            scores, problem = finished.scoring.collect(failures)
            metrics |= {} if problem else spread_scores(scores)
        record = RoundRecord(finished.round_idx, round(self._now_s() * 1000), metrics)
        commit = Checkpoint(
            round_idx=finished.round_idx,
            server_state=finished.state,
            client_states=self._memory.states.staged(finished.round_idx),
            shared_masks=finished.shared_masks,
            flights=finished.flights,
            totals=finished.totals,
            log_bytes={},
        )
        logs = {
            "metrics.jsonl": [record.to_line()],
            "events.jsonl": [event.to_line() for phase in finished.phases for event in phase.events],
            "failures.jsonl": [failure.to_line() for failure in failures],
        }
        self._store.commit(commit, logs)
        self._memory.states.commit(finished.round_idx)
        if problem is not None:
            raise problem
        return record


def _after(progress: RunState, finished: FinishedRound) -> RunState:
    return RunState(
        next_round=finished.round_idx + 1,
        server_state=finished.state,
        totals=finished.totals,
    )
