"""The driver: runs the rounds, folds the updates, commits. Plain Python; Ray wraps it elsewhere.

While the clients of round r + 1 train, the driver evaluates the global model, commits and reports round r: none
of that is on a round's path. Where clients score models of their own, their tasks come before that training.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.evaluate import spread
from orchestrator.runtime.broadcast import Broadcast
from orchestrator.runtime.checkpoint import Commit, Templates
from orchestrator.runtime.evaluator import Evaluator
from orchestrator.runtime.executor import Executor
from orchestrator.runtime.experiment import Experiment, params_sha256
from orchestrator.runtime.export import export_model
from orchestrator.runtime.ledger import add_totals, round_costs
from orchestrator.runtime.phase import Folded, Launched, PhaseRunner, Scoring
from orchestrator.runtime.store import RunStore
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
class RoundInFlight:
    """A round whose clients train: its probes are folded into `progress`."""

    progress: Progress
    probes: Sequence[Folded]
    launched: Launched


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRound:
    """A folded round that is not yet committed; `scoring` are the clients that score their models after it."""

    round_idx: int
    state: ServerState
    client_states: dict[int, Any]
    held_masks: dict[int, str]
    totals: dict[str, float]
    metrics: dict[str, float]
    phases: Sequence[Folded]
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
        broadcast: Broadcast | None = None
        started_s = self._now_s()
        while progress.next_round < self._config.training.rounds and not self._stop_requested:
            try:
                in_flight = self._begin(progress, broadcast)
            finally:  # a round that cannot begin must not cost the one before, which is not yet committed
                if previous is not None:
                    yield self._conclude(previous)
            previous, broadcast = self._end(in_flight, started_s)
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

    def _begin(self, progress: Progress, broadcast: Broadcast | None) -> RoundInFlight:
        """Run the probes that the method wants, then set the round's clients to work."""
        round_idx, probes = progress.next_round, list[Folded]()
        while plan := self._algorithm.plan_probe(progress.server_state, round_idx):
            launched = self._phases.launch(
                plan, progress.server_state, progress.client_states, broadcast=broadcast
            )
            probes.append(self._phases.fold(launched, progress.held_masks, progress.client_states))
            probed = self._algorithm.probe_update(progress.server_state, probes[-1].aggregate, round_idx)
            progress = replace(
                progress,
                server_state=probed,
                client_states={**progress.client_states, **probes[-1].client_states},
                held_masks={**progress.held_masks, **probes[-1].held_masks},
            )
            broadcast = None
        launched = self._phases.launch(
            self._algorithm.plan(progress.server_state, round_idx),
            progress.server_state,
            progress.client_states,
            broadcast=broadcast,
            score=self._evaluator.is_due(round_idx, last=self._is_last(round_idx)),
        )
        return RoundInFlight(progress=progress, probes=probes, launched=launched)

    def _end(self, in_flight: RoundInFlight, started_s: float) -> tuple[FinishedRound, Broadcast | None]:
        """Fold the updates, take the server's step, and let clients score what they now have.

        The broadcast that the scoring needed is the next round's, where there is one.
        """
        progress, round_idx = in_flight.progress, in_flight.launched.round_idx
        training = self._phases.fold(in_flight.launched, progress.held_masks, progress.client_states)
        state = progress.server_state
        next_state = self._algorithm.server_update(state, training.aggregate, round_idx)
        phases = [*in_flight.probes, training]
        last = self._is_last(round_idx)
        client_states = _merged(phases, "client_states")
        scoring = None
        plan = self._evaluator.plan(round_idx, last=last)
        if plan.tasks:
            scoring = self._phases.score(plan, next_state, progress.client_states | client_states)
        failures = sum(len(phase.failures) for phase in phases)
        wall_s = self._now_s() - started_s
        costs = round_costs(
            [phase.events for phase in phases], failures, wall_s, self._config.fleet.deadline_s
        )
        totals = add_totals(progress.totals, costs)
        metrics = costs | totals | self._sparsity(state, training.aggregate, next_state)
        if training.trained_accuracy:
            metrics |= spread(np.array(training.trained_accuracy), "trained/accuracy")
        metrics |= self._algorithm.server_metrics(state, training.aggregate, next_state)
        finished = FinishedRound(
            round_idx=round_idx,
            state=next_state,
            client_states=client_states,
            held_masks=_merged(phases, "held_masks"),
            totals=totals,
            metrics=metrics,
            phases=phases,
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
            metrics |= {} if problem else self._evaluator.spread_scores(scores)
        record = RoundRecord(finished.round_idx, round(self._now_s() * 1000), metrics)
        commit = Commit(
            round_idx=finished.round_idx,
            server_state=finished.state,
            client_states=finished.client_states,
            held_masks=finished.held_masks,
            totals=finished.totals,
            log_bytes={},
        )
        logs = {
            "metrics.jsonl": [record.to_line()],
            "events.jsonl": [event.to_line() for phase in finished.phases for event in phase.events],
            "failures.jsonl": [failure.to_line() for failure in failures],
        }
        self._store.commit(commit, logs)
        if problem is not None:
            raise problem
        return record


def _merged(phases: Sequence[Folded], what: str) -> dict[int, Any]:
    """Client states or held masks after all phases of a round; the later phase wins."""
    return {k: value for phase in phases for k, value in getattr(phase, what).items()}


def _after(progress: Progress, finished: FinishedRound) -> Progress:
    return Progress(
        next_round=finished.round_idx + 1,
        server_state=finished.state,
        client_states=progress.client_states | finished.client_states,
        held_masks=progress.held_masks | finished.held_masks,
        totals=finished.totals,
    )
