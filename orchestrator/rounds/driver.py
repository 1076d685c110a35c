"""The driver: runs the rounds of one experiment. Plain Python; `runtime/driver_actor.py` puts it on Ray.

One round, and the way of one update through it (docs/one-round.md follows it function by function):

    1  sample      Rounds.begin            the sampler chooses the cohort; the method's probes follow
    2  submit      PhaseRunner.submit      one encoded broadcast for all, one request for each client
    3  train       ClientRunner.run        the client trains, `pack`s its payload and encodes an update
    4  admit       admit                   the driver decodes and checks the update, and times its arrival
    5  fold        Fold.add                the update counts, and the aggregator adds it in float64
    6  finish      Fold.finish             the aggregator divides once; the phase has its result
    7  step        server_update           the method makes the next server state

    conclude       Driver._conclude        evaluate, write the checkpoint, report the round

While the clients of round r + 1 train, the driver concludes round r, so that evaluation, checkpoint and report overlap
with training. Clients that score models of their own run these tasks before that training.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from orchestrator.aggregation.costs import add_totals, round_costs
from orchestrator.aggregation.fold import PhaseResult
from orchestrator.aggregation.sums import Aggregators
from orchestrator.errors import RoundError
from orchestrator.execution.executor import Executor
from orchestrator.experiment.experiment import Experiment, params_sha256
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.privacy.accountant import epsilon
from orchestrator.federation.update import ClientFailure
from orchestrator.rounds.asynchronous import AsynchronousRounds
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.evaluator import Evaluator, named_scores, score_distributions, sparsity_metrics
from orchestrator.rounds.phase import PhaseRunner
from orchestrator.rounds.protocol import RoundInProgress, Rounds
from orchestrator.rounds.scoring import Scoring
from orchestrator.rounds.state_check import require_finite_state
from orchestrator.rounds.stopwatch import Stopwatch
from orchestrator.rounds.synchronous import SynchronousRounds
from orchestrator.storage.best_model import BestModel
from orchestrator.storage.checkpoints.checkpoint import Checkpoint, Templates
from orchestrator.storage.checkpoints.client_memory import ClientMemory
from orchestrator.storage.checkpoints.in_flight import InFlightTask
from orchestrator.storage.client_scores import ClientScores
from orchestrator.storage.event_log import committed_events
from orchestrator.storage.export import export_model
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord


@dataclass(frozen=True, eq=False, kw_only=True)
class RunState:
    """The run between two rounds, without the clients' states, which `ClientMemory` owns."""

    next_round: int
    server_state: Any
    totals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRound:
    """A round after its server step, without its checkpoint. `scoring` are the tasks that score client models."""

    round_idx: int
    state: ServerState
    totals: dict[str, float]
    metrics: dict[str, float]
    phases: Sequence[PhaseResult]
    in_flight: Sequence[InFlightTask]
    last: bool
    scoring: Scoring | None


class Driver:
    """Runs one experiment on an executor, from its last checkpoint to its last round."""

    def __init__(
        self,
        experiment: Experiment,
        executor: Executor,
        store: RunStore,
        *,
        aggregators: Aggregators | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Restores the last checkpoint, if there is one.

        `aggregators` None: the driver adds the updates. `now_s` gives wall-clock seconds since the epoch.
        """
        self._experiment, self._store, self._now_s = experiment, store, now_s
        self._algorithm, self._config = experiment.algorithm, experiment.config
        self._evaluator = Evaluator(experiment)
        self._executor, self._stopwatch = executor, Stopwatch()
        self._stop_requested = False
        fresh = self._algorithm.init(torch.from_numpy(experiment.initial.copy()))
        restored = store.restore(Templates(server=fresh, client=self._algorithm.init_client(0)))
        if restored is None:
            self._state = RunState(next_round=0, server_state=fresh)
            self._memory = ClientMemory(store.client_states(self._algorithm.init_client(0)))
        else:
            self._state = RunState(
                next_round=restored.round_idx + 1,
                server_state=restored.server_state,
                totals=dict(restored.totals),
            )
            self._memory = ClientMemory(restored.client_states, restored.shared_masks)
        self._best_model = BestModel(experiment, store.folder, self._state.next_round)
        self._phases = PhaseRunner(experiment, executor, self._memory, self._stopwatch, aggregators)
        kind = AsynchronousRounds if self._config.asynchrony.kind != "none" else SynchronousRounds
        self._rounds: Rounds = kind(experiment, self._phases, self._memory)
        if restored is not None and self._continues(self._state.next_round):
            self._rounds.restore(
                restored.in_flight,
                lambda round_idx: restored.earlier_states[round_idx - 1] if round_idx else fresh,
                committed_events(store.folder),
            )

    def stop(self) -> None:
        """Ask for an end after the round in progress, which still gets its checkpoint."""
        self._stop_requested = True

    def run(self) -> Generator[RoundRecord, None, None]:
        """Run the remaining rounds; yields each round's record after its checkpoint.

        Raises RoundError when a round cannot finish under the failure policy.
        """
        state = self._state
        previous: FinishedRound | None = None
        broadcast: Broadcast | None = None
        started_s = self._now_s()
        self._stopwatch.lap(self._executor.num_workers)  # forget the time before the first round
        while self._continues(state.next_round):
            if previous is not None and self._best_model.decides:
                yield self._conclude(previous)
                previous = None
                continue
            with self._stopwatch.measure("submit"):
                started, error = self._try_begin(state, broadcast)
            if previous is not None:
                yield self._conclude(previous, error)
            if started is None:
                assert error is not None
                raise error
            previous, broadcast = self._end(started, state, started_s)
            started_s += previous.metrics["time/wall_s"]
            state = RunState(
                next_round=previous.round_idx + 1, server_state=previous.state, totals=previous.totals
            )
        if previous is not None:
            yield self._conclude(previous)
        self._state = state
        if not self._stop_requested:
            self._best_model.finish()
            export_model(self._experiment, state.server_state.params, self._store.folder / "model")

    def params_sha256(self) -> str:
        """Digest of the global parameters after the last round that `run` completed."""
        return params_sha256(self._state.server_state.params)

    def _try_begin(
        self, state: RunState, broadcast: Broadcast | None
    ) -> tuple[RoundInProgress | None, BaseException | None]:
        """Steps 1 and 2. An error is returned, because the previous round still needs its checkpoint."""
        round_idx = state.next_round
        try:
            started = self._rounds.begin(
                state.server_state,
                round_idx,
                state.totals.get("time/emulated_s_total", 0.0),
                broadcast,
                score=self._evaluator.is_due(round_idx, last=self._is_last(round_idx)),
            )
        except BaseException as error:
            return None, error
        return started, None

    def _end(
        self, started: RoundInProgress, before: RunState, started_s: float
    ) -> tuple[FinishedRound, Broadcast | None]:
        """Steps 4 to 7, and the start of scoring. Returns the next round's broadcast if scoring encoded it."""
        round_idx, state = started.round_idx, started.state
        with self._stopwatch.measure("fold"):
            training = self._rounds.end(started)
        with self._stopwatch.measure("step"):
            next_state = self._algorithm.server_update(state, training.aggregate, round_idx)
            require_finite_state(next_state, round_idx)
        last = self._is_last(round_idx)
        scoring = None
        plan = self._evaluator.plan(round_idx, last=last)
        if plan.tasks:
            scoring = Scoring(self._phases, plan, next_state, self._memory.states_after(round_idx))
        phases = [*started.phases, training]
        costs = self._costs(started, phases, training, started_s)
        totals = add_totals(before.totals, costs)
        layout = self._experiment.setting.layout
        metrics = costs | totals | sparsity_metrics(layout, state, training.aggregate, next_state)
        metrics |= score_distributions(training.trained_scores)
        metrics |= self._algorithm.server_metrics(state, training.aggregate, next_state)
        finished = FinishedRound(
            round_idx=round_idx,
            state=next_state,
            totals=totals,
            metrics=metrics,
            phases=phases,
            in_flight=self._rounds.in_flight(),
            last=last,
            scoring=scoring,
        )
        return finished, None if scoring is None else scoring.broadcast

    def _costs(
        self,
        started: RoundInProgress,
        phases: Sequence[PhaseResult],
        training: PhaseResult,
        started_s: float,
    ) -> dict[str, float]:
        costs = round_costs(
            [event for phase in phases for event in phase.events],
            emulated_s=started.waited_s + sum(phase.seconds for phase in phases),
            num_failures=sum(len(phase.failures) for phase in phases),
            wall_s=self._now_s() - started_s,
        )
        costs["time/waited_s"] = started.waited_s + training.waited_s
        costs["fleet/stragglers"] += training.num_kept
        costs["fleet/in_flight"] = len(self._rounds.in_flight())
        return costs

    def _privacy_metrics(self, round_idx: int) -> dict[str, float]:
        """The privacy loss of all rounds up to this one; nothing without noise."""
        config = self._config
        if not config.privacy.has_noise:
            return {}
        spent = epsilon(
            config.privacy.noise_multiplier,
            config.privacy.delta,
            num_rounds=round_idx + 1,
            cohort_size=config.training.clients_per_round,
            num_clients=config.fleet.num_clients,
        )
        return {"privacy/epsilon": spent}

    def _continues(self, next_round: int) -> bool:
        """Whether the run trains another round."""
        is_over = self._stop_requested or self._best_model.stops
        return next_round < self._config.training.rounds and not is_over

    def _is_last(self, round_idx: int) -> bool:
        return self._stop_requested or round_idx + 1 == self._config.training.rounds

    def _conclude(self, finished: FinishedRound, next_error: BaseException | None = None) -> RoundRecord:
        """Conclude a round; an error on the way also names the error with which the next round failed to begin."""
        try:
            return self._evaluate_and_commit(finished)
        except Exception as error:
            if next_error is not None:
                error.add_note(f"round {finished.round_idx + 1} had failed to begin: {next_error!r}")
            raise

    def _evaluate_and_commit(self, finished: FinishedRound) -> RoundRecord:
        """Evaluate, write the checkpoint, and only then report the round.

        Raises RoundError, after the checkpoint, when the failure policy does not allow the scoring to end.
        """
        round_idx, metrics, client_scores = finished.round_idx, dict(finished.metrics), ClientScores()
        if self._evaluator.is_due(round_idx, last=finished.last or self._stop_requested):
            with self._stopwatch.measure("evaluate"):
                metrics |= self._evaluator.evaluate(finished.state.params, client_scores)
        failures = [f for phase in finished.phases for f in phase.failures]
        scores, scoring_error = self._collect(finished.scoring, failures, client_scores)
        metrics |= scores
        metrics |= self._best_model.add(round_idx, metrics, finished.state.params)
        if self._best_model.stops and not finished.last and scoring_error is None:
            scores, scoring_error = self._collect(self._last_scoring(finished), failures, client_scores)
            metrics |= scores
        metrics |= self._privacy_metrics(round_idx)
        if self._config.runtime.profile:
            metrics |= self._stopwatch.lap(self._executor.num_workers)
        record = RoundRecord(round_idx, round(self._now_s() * 1000), metrics)
        checkpoint = Checkpoint(
            round_idx=round_idx,
            server_state=finished.state,
            client_states=self._memory.changed_states(round_idx),
            shared_masks=self._memory.changed_masks(round_idx),
            in_flight=finished.in_flight,
            totals=finished.totals,
            log_bytes={},
        )
        logs = {
            "metrics.jsonl": [record.to_line()],
            "events.jsonl": [event.to_line() for phase in finished.phases for event in phase.events],
            "failures.jsonl": [failure.to_line() for failure in failures],
        }
        with self._stopwatch.measure("checkpoint"):
            client_scores.write(self._store.folder, round_idx)
            self._store.commit(checkpoint, logs)
        self._memory.commit(round_idx)
        self._best_model.committed()
        if scoring_error is not None:
            raise scoring_error
        return record

    def _collect(
        self, scoring: Scoring | None, failures: list[ClientFailure], client_scores: ClientScores
    ) -> tuple[dict[str, float], RoundError | None]:
        """Wait for the clients' scores: their distributions, and the error that ended the scoring."""
        if scoring is None:
            return {}, None
        scores, error = scoring.collect(failures)
        named = [named_scores(score, self._config.fleet.num_clients) for score in scores]
        for score, accuracies in zip(scores, named, strict=True):
            client_scores.add_client(score.client_id, accuracies)
        return {} if error else score_distributions(named), error

    def _last_scoring(self, finished: FinishedRound) -> Scoring | None:
        """The scoring of a last round that was no last round when its own scoring started; None without more tasks."""
        plan = self._evaluator.plan(finished.round_idx, last=True)
        if not plan.tasks or plan == self._evaluator.plan(finished.round_idx, last=False):
            return None
        states = self._memory.states_after(finished.round_idx)
        return Scoring(self._phases, plan, finished.state, states)
