"""Synchronous rounds: a round waits for its clients, or for a deadline, or until enough have answered."""

from collections.abc import Callable, Iterator, Sequence
from typing import final

from orchestrator.aggregation.arrival import Arrival
from orchestrator.aggregation.costs import phase_s
from orchestrator.aggregation.fold import Fold, PhaseResult
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.client_event import EventOutcome
from orchestrator.federation.plan import RoundPlan
from orchestrator.federation.update import ClientFailure
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.cutoff import Cutoff
from orchestrator.rounds.phase import PhaseRunner, SubmittedTasks
from orchestrator.rounds.protocol import ClientMemory, RoundInProgress
from orchestrator.rounds.sampler import CohortSampler
from orchestrator.sparsity.payload import Scalar
from orchestrator.storage.in_flight import InFlightTask


@final
class SynchronousRounds:
    """See Rounds. Late updates that are kept fold into the round in which they arrive, after its own."""

    def __init__(self, experiment: Experiment, phases: PhaseRunner, memory: ClientMemory) -> None:
        self._experiment, self._phases, self._memory = experiment, phases, memory
        self._algorithm, self._fleet = experiment.algorithm, experiment.config.fleet
        self._selector = CohortSampler(experiment)
        over = self._fleet.over_selection > 1.0
        self._cutoff = Cutoff(
            deadline_s=self._fleet.deadline_s,
            needed=experiment.config.training.clients_per_round if over else None,
        )
        self._waiting: list[Arrival] = []
        self._failures: list[ClientFailure] = []

    def begin(
        self, state: ServerState, round_idx: int, now_s: float, broadcast: Broadcast | None, *, score: bool
    ) -> RoundInProgress:
        """Draw the cohort, run the probes that the method wants, let candidates say their losses, then train."""
        busy_until_s = {arrival.event.client_id: arrival.at_s for arrival in self._waiting}
        cohort, start_s = self._selector.wait_for_cohort(round_idx, now_s, busy_until_s)
        waited_s, phases = start_s - now_s, list[PhaseResult]()
        while plan := self._algorithm.plan_probe(state, round_idx, cohort):
            launched = self._launch(plan, state, broadcast, start_s)
            phases.append(self._phases.fold(launched, self._memory.shared_masks, self._memory.states))
            self._memory.remember(round_idx, phases[-1])
            state = self._algorithm.probe_update(state, phases[-1].aggregate, round_idx)
            start_s, broadcast = start_s + phases[-1].seconds, None
        if self._selector.asks_first:
            launched = self._launch(RoundPlan.of(round_idx, cohort, "loss"), state, broadcast, start_s)
            asked, cohort = self._ask(launched)
            phases.append(asked)
            start_s, broadcast = start_s + asked.seconds, launched.broadcast
        plan = self._algorithm.plan(state, round_idx, cohort)
        launched = self._launch(plan, state, broadcast, start_s, score=score)
        return RoundInProgress(
            round_idx=round_idx,
            state=state,
            phases=phases,
            launched=launched,
            waited_s=waited_s,
            start_s=start_s,
        )

    def end(self, begun: RoundInProgress) -> PhaseResult:
        """See Rounds."""
        assert begun.launched is not None
        fold = Fold(self._experiment, begun.round_idx, self._memory.states)
        fold.failures, self._failures = self._failures, []
        asked = {e.client_id for phase in begun.phases for e in phase.events if e.kind == "loss"}
        arrivals = self._phases.arrivals(begun.launched, self._memory.shared_masks, fold, asked)
        seconds = (
            self._fold_all(fold, arrivals)
            if self._cutoff.needed is None
            else self._fold_first(fold, arrivals)
        )
        self._fold_waiting(fold, begun, begun.start_s + seconds)
        return fold.finish(begun.state.params, seconds)

    def flights(self) -> Sequence[InFlightTask]:
        """See Rounds: the late updates that have not yet arrived."""
        return tuple(
            InFlightTask(
                round_idx=a.event.round_idx,
                position=a.event.position,
                client_id=a.event.client_id,
                score=a.decoded.job.task.score,
                start_s=a.event.start_s,
                download_bytes=a.event.download_bytes,
                repeat=a.decoded.job.task.repeat,
            )
            for a in self._waiting
        )

    def restore(self, flights: Sequence[InFlightTask], state_before: Callable[[int], ServerState]) -> None:
        """See Rounds."""
        for flight in flights:
            plan = RoundPlan(flight.round_idx, (flight.task,))
            launched = self._launch(
                plan, state_before(flight.round_idx), None, flight.start_s, score=flight.score
            )
            arrival = self._phases.arrival(
                launched.broadcast,
                launched.jobs[0],
                launched.tickets[0],
                flight.start_s,
                flight.download_bytes,
                self._failures,
            )
            if arrival is not None:
                self._waiting.append(arrival)

    def _launch(
        self,
        plan: RoundPlan,
        state: ServerState,
        broadcast: Broadcast | None,
        start_s: float,
        *,
        score: bool = False,
    ) -> SubmittedTasks:
        return self._phases.launch(
            plan, state, self._memory.states, broadcast=broadcast, score=score, start_s=start_s
        )

    def _ask(self, launched: SubmittedTasks) -> tuple[PhaseResult, tuple[int, ...]]:
        """Wait for the candidates' losses; what that cost, and the cohort that they make."""
        fold, losses = Fold(self._experiment, launched.round_idx, {}), dict[int, float]()
        for arrival in self._phases.arrivals(launched, self._memory.shared_masks, fold):
            (item,) = arrival.decoded.items
            assert isinstance(item, Scalar)
            losses[arrival.event.client_id] = item.value
            fold.take(arrival, "used")
        folded = fold.finish(launched.broadcast.state.params, phase_s(fold.events))
        self._memory.remember(launched.round_idx, folded)
        return folded, self._selector.largest_losses(losses)

    def _fold_all(self, fold: Fold, arrivals: Iterator[Arrival]) -> float:
        """Fold each update as it comes, since its own time alone decides about it; the phase's emulated seconds."""
        events = []
        for arrival in arrivals:
            events.append(arrival.event)
            self._settle(fold, arrival, self._cutoff.fates([arrival.event])[0])
        return self._cutoff.ends_s(events)

    def _fold_first(self, fold: Fold, arrivals: Iterator[Arrival]) -> float:
        """Wait for all updates, then fold those that came first in emulated time; the phase's seconds."""
        settled = list(arrivals)
        events = [arrival.event for arrival in settled]
        for arrival, fate in zip(settled, self._cutoff.fates(events), strict=True):
            self._settle(fold, arrival, fate)
        return self._cutoff.ends_s(events)

    def _settle(self, fold: Fold, arrival: Arrival, fate: EventOutcome) -> None:
        if fate == "late" and self._fleet.late == "keep":
            self._waiting.append(arrival)
            fold.num_kept += 1
        else:
            fold.take(arrival, fate)

    def _fold_waiting(self, fold: Fold, begun: RoundInProgress, end_s: float) -> None:
        """Late updates of earlier rounds that have arrived by now, in the order in which they came."""
        due = [a for a in self._waiting if a.at_s <= end_s and a.event.round_idx < begun.round_idx]
        for arrival in sorted(due, key=lambda a: (a.at_s, a.event.round_idx, a.event.position)):
            oldest = self._experiment.config.asynchrony.max_staleness
            stale = oldest is not None and begun.round_idx - arrival.event.round_idx > oldest
            fold.take(arrival, "stale" if stale else "used", begun.state.params)
        self._waiting = [a for a in self._waiting if a not in due]
