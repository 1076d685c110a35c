"""Synchronous rounds: a round ends with its slowest client, at a deadline, or when enough clients have answered."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import final

from orchestrator.aggregation.costs import phase_s
from orchestrator.aggregation.fold import Fold, PhaseResult
from orchestrator.aggregation.received_update import DecodedUpdate, ReceivedUpdate
from orchestrator.aggregation.sums import LocalSums
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.client_event import ClientEvent, EventOutcome
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientFailure
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.cutoff import Cutoff
from orchestrator.rounds.phase import PhaseRunner, SubmittedTasks
from orchestrator.rounds.protocol import RoundInProgress
from orchestrator.rounds.sampler import CohortSampler
from orchestrator.rounds.state_check import require_finite_state
from orchestrator.sparsity.payload import Scalar
from orchestrator.storage.checkpoints.client_memory import ClientMemory
from orchestrator.storage.checkpoints.in_flight import InFlightTask


@final
class SynchronousRounds:
    """See Rounds. With `fleet.late=keep`, a late update counts in the round in which it arrives."""

    def __init__(self, experiment: Experiment, phases: PhaseRunner, memory: ClientMemory) -> None:
        self._experiment, self._phases, self._memory = experiment, phases, memory
        self._algorithm, self._fleet = experiment.algorithm, experiment.config.fleet
        self._sampler = CohortSampler(experiment)
        over = self._fleet.over_selection > 1.0
        self._cutoff = Cutoff(
            deadline_s=self._fleet.deadline_s,
            needed=experiment.config.training.clients_per_round if over else None,
        )
        self._late: list[ReceivedUpdate] = []
        self._failures: list[ClientFailure] = []

    def begin(
        self, state: ServerState, round_idx: int, now_s: float, broadcast: Broadcast | None, *, score: bool
    ) -> RoundInProgress:
        """Sample the cohort, run the method's probes, ask candidates for their losses, then start the training."""
        busy_until_s = {update.client_id: update.arrival_s for update in self._late}
        cohort, start_s = self._sampler.wait_for_cohort(round_idx, now_s, busy_until_s)
        waited_s, phases = start_s - now_s, list[PhaseResult]()
        while plan := self._algorithm.plan_probe(state, round_idx, cohort):
            submitted = self._submit(plan, state, broadcast, start_s)
            phases.append(self._phases.fold_all(submitted))
            state = self._algorithm.probe_update(state, phases[-1].aggregate, round_idx)
            require_finite_state(state, round_idx)
            start_s, broadcast = start_s + phases[-1].seconds, None
        if self._sampler.needs_losses:
            submitted = self._submit(RoundPlan.of(round_idx, cohort, "loss"), state, broadcast, start_s)
            answers, cohort = self._ask_losses(submitted)
            phases.append(answers)
            start_s, broadcast = start_s + answers.seconds, submitted.broadcast
        plan = self._algorithm.plan(state, round_idx, cohort)
        submitted = self._submit(plan, state, broadcast, start_s, score=score)
        return RoundInProgress(
            round_idx=round_idx,
            state=state,
            phases=phases,
            submitted=submitted,
            waited_s=waited_s,
            start_s=start_s,
        )

    def end(self, started: RoundInProgress) -> PhaseResult:
        """See Rounds."""
        assert started.submitted is not None
        fold = self._phases.fold(started.round_idx)
        fold.failures, self._failures = self._failures, []
        has_message = {e.client_id for phase in started.phases for e in phase.events if e.kind == "loss"}
        updates = self._phases.updates(started.submitted, fold, has_message)
        seconds = (
            self._fold_all(fold, updates) if self._cutoff.needed is None else self._fold_first(fold, updates)
        )
        self._fold_late(fold, started, started.start_s + seconds)
        result = fold.finish(started.state.params, seconds)
        self._sampler.record(result.events)
        return result

    def in_flight(self) -> Sequence[InFlightTask]:
        """See Rounds: the late updates that have not arrived yet."""
        return tuple(
            InFlightTask(
                task=update.task, start_s=update.event.start_s, download_bytes=update.event.download_bytes
            )
            for update in self._late
        )

    def restore(
        self,
        in_flight: Sequence[InFlightTask],
        state_before: Callable[[int], ServerState],
        events: Iterable[ClientEvent],
    ) -> None:
        """See Rounds."""
        self._sampler.record(events)
        for late in in_flight:
            round_idx = late.task.round_idx
            submitted = self._submit(
                RoundPlan(round_idx, (late.task,)),
                state_before(round_idx),
                None,
                late.start_s,
                score=late.task.score,
            )
            update = self._phases.update(
                submitted.broadcast,
                submitted.requests[0],
                submitted.handles[0],
                late.start_s,
                late.download_bytes,
                self._failures,
            )
            if update is not None:
                self._late.append(update)

    def _submit(
        self,
        plan: RoundPlan,
        state: ServerState,
        broadcast: Broadcast | None,
        start_s: float,
        *,
        score: bool = False,
    ) -> SubmittedTasks:
        return self._phases.submit(plan, state, broadcast=broadcast, score=score, start_s=start_s)

    def _ask_losses(self, submitted: SubmittedTasks) -> tuple[PhaseResult, tuple[int, ...]]:
        """Wait for the candidates' losses; returns what the phase cost, and the cohort by the losses."""
        # an average of its own may need the method's items, and an answer has only the loss
        sums = LocalSums(AGGREGATORS["wmean"](), self._experiment.config.asynchrony)
        fold = Fold(self._experiment, submitted.round_idx, self._memory, sums)
        losses: dict[int, float] = {}
        for update in self._phases.updates(submitted, fold):
            assert isinstance(update.content, DecodedUpdate)
            (item,) = update.content.items
            assert isinstance(item, Scalar)
            losses[update.client_id] = item.value
            fold.add(update, "used")
        result = fold.finish(submitted.broadcast.state.params, phase_s(fold.events))
        return result, self._sampler.largest_losses(losses)

    def _fold_all(self, fold: Fold, updates: Iterator[ReceivedUpdate]) -> float:
        """Fold each update as it comes, because its own time alone decides its outcome; the phase's seconds."""
        events = []
        for update in updates:
            events.append(update.event)
            self._settle(fold, update, self._cutoff.outcomes([update.event])[0])
        return self._cutoff.ends_s(events)

    def _fold_first(self, fold: Fold, updates: Iterator[ReceivedUpdate]) -> float:
        """Wait for all updates, then fold those that came first in emulated time; the phase's seconds."""
        received = list(updates)
        events = [update.event for update in received]
        for update, outcome in zip(received, self._cutoff.outcomes(events), strict=True):
            self._settle(fold, update, outcome)
        return self._cutoff.ends_s(events)

    def _settle(self, fold: Fold, update: ReceivedUpdate, outcome: EventOutcome) -> None:
        if outcome == "late" and self._fleet.late == "keep":
            self._late.append(update)
            fold.num_kept += 1
        else:
            fold.add(update, outcome)

    def _fold_late(self, fold: Fold, started: RoundInProgress, end_s: float) -> None:
        """Fold late updates of earlier rounds that arrive by the end of this round, in the order of arrival."""
        due = [u for u in self._late if u.arrival_s <= end_s and u.event.round_idx < started.round_idx]
        for update in sorted(due, key=lambda u: (u.arrival_s, u.event.round_idx, u.event.position)):
            oldest = self._experiment.config.asynchrony.max_staleness
            is_stale = oldest is not None and started.round_idx - update.event.round_idx > oldest
            fold.add(update, "stale" if is_stale else "used", started.state.params)
        self._late = [u for u in self._late if u not in due]
