"""Asynchronous rounds: clients come and go, and the server takes a step whenever its buffer is full.

`training.clients_per_round` clients are at work at any emulated time. Virtual time alone orders their updates: one is
taken only when no other can still come before it, which `least_s` tells for those whose training has not ended. Until
then trainings run side by side, in whatever order and on whatever machine.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import final

from orchestrator.aggregation.arrival import Arrival, departure
from orchestrator.aggregation.fold import Fold, PhaseResult
from orchestrator.errors import RoundError
from orchestrator.execution.executor import TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.client_event import EventOutcome
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.fleet.clock import client_time
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.phase import PhaseRunner, SubmittedTasks
from orchestrator.rounds.protocol import ClientMemory, RoundInProgress
from orchestrator.rounds.sampler import (
    MAX_POLLS,
    POLL_INTERVAL_S,
    CohortSampler,
    no_client_available,
)
from orchestrator.storage.in_flight import InFlightTask

#: tasks that may fail or vanish for each update that a round needs, before the run ends
_PATIENCE = 100
#: a bound from a formula and the sum that a client counts may differ by rounding
_ROUNDING = 1.0 - 1e-9


@dataclass(eq=False)
class _ActiveTask:
    """A client at work. `arrival` is None until its training has ended, and `lost_s` inf unless it failed."""

    flight: InFlightTask
    broadcast: Broadcast
    job: TaskRequest
    ticket: TaskHandle
    least_s: float
    arrival: Arrival | None = None
    lost_s: float = inf

    @property
    def known(self) -> bool:
        return self.arrival is not None or self.lost_s < inf

    @property
    def order(self) -> tuple[float, int]:
        """By emulated time of arrival, or the earliest that it can be; at the same moment by who began first."""
        at_s = self.least_s if not self.known else self.lost_s if self.arrival is None else self.arrival.at_s
        return at_s, self.flight.number


@dataclass(eq=False, kw_only=True)
class _ModelVersion:
    """The model that clients begin with now, and how often each of them did."""

    round_idx: int
    state: ServerState
    broadcast: Broadcast
    score: bool
    given: Counter[int] = field(default_factory=Counter)

    @property
    def num_given(self) -> int:
        """Tasks that began with it."""
        return self.given.total()


@final
class AsynchronousRounds:
    """See Rounds. A round is what happens between two steps of the server."""

    def __init__(self, experiment: Experiment, phases: PhaseRunner, memory: ClientMemory) -> None:
        self._experiment, self._phases, self._memory = experiment, phases, memory
        self._config, self._algorithm = experiment.config.asynchrony, experiment.algorithm
        self._concurrency = experiment.config.training.clients_per_round
        self._buffer_size = self._config.buffer_size if self._config.kind == "fedbuff" else 1
        self._selector = CohortSampler(experiment)
        self._tasks: list[_ActiveTask] = []
        self._ended: tuple[InFlightTask, ...] = ()
        self._num_given = 0

    def begin(
        self, state: ServerState, round_idx: int, now_s: float, broadcast: Broadcast | None, *, score: bool
    ) -> RoundInProgress:
        """Give the free places to clients that begin with this state."""
        self._version = _ModelVersion(
            round_idx=round_idx,
            state=state,
            broadcast=broadcast or Broadcast.of(self._experiment, state),
            score=score,
        )
        self._fill(now_s)
        return RoundInProgress(round_idx=round_idx, state=state, start_s=now_s)

    def end(self, begun: RoundInProgress) -> PhaseResult:
        """Take updates in the order of emulated time until the buffer is full.

        A place is given away again when emulated time moves on, so that of updates that come at the same moment none
        sees a server step before its time.
        """
        fold = Fold(self._experiment, begun.round_idx, self._memory.states)
        now_s, waited_s, num_taken = begun.start_s, 0.0, 0
        while fold.num_used < self._buffer_size:
            if self._none_before(now_s) and self._fill(now_s):
                continue
            task = self._first(fold)
            if len(self._tasks) < self._concurrency and (task is None or task.order[0] > now_s):
                if self._fill(now_s):
                    continue
                if task is None:
                    until_s = self._wait(begun.round_idx, now_s)
                    now_s, waited_s = until_s, waited_s + until_s - now_s
                    continue
            assert task is not None
            # the sum of the rounds' seconds, at which this one began, may be a rounding beyond the task's end
            now_s, num_taken = max(now_s, task.order[0]), num_taken + 1
            self._take(task, fold, begun)
            if num_taken > _PATIENCE * self._buffer_size:
                causes = "".join(f"; {failure}" for failure in fold.failures[:3])
                raise RoundError(
                    f"round {begun.round_idx}: of {num_taken} tasks only {fold.num_used} gave an update that counts, "
                    f"{self._buffer_size} are needed{causes}"
                )
        self._ended = tuple(task.flight for task in self._tasks)
        return fold.finish(begun.state.params, now_s - begun.start_s, waited_s=waited_s)

    def flights(self) -> Sequence[InFlightTask]:
        """See Rounds: the tasks under way when the buffer was full."""
        return self._ended

    def restore(self, flights: Sequence[InFlightTask], state_before: Callable[[int], ServerState]) -> None:
        """See Rounds."""
        broadcasts: dict[int, Broadcast] = {}
        for flight in flights:
            version = flight.round_idx
            if version not in broadcasts:
                broadcasts[version] = Broadcast.of(self._experiment, state_before(version))
            self._add(flight, self._launch(flight.task, broadcasts[version], flight.start_s))
            self._num_given = flight.number + 1

    def _wait(self, round_idx: int, now_s: float) -> float:
        """The emulated time at which a client came, and was given work, where none is at work.

        Raises RoundError when none comes for a week.
        """
        for _ in range(MAX_POLLS):
            now_s += POLL_INTERVAL_S
            if self._fill(now_s):
                return now_s
        raise no_client_available(round_idx)

    def _fill(self, now_s: float) -> bool:
        """Give free places to clients that are there; whether any was given."""
        version, free = self._version, self._concurrency - len(self._tasks)
        if not free:
            return False
        busy = {task.flight.client_id for task in self._tasks}
        cohort = self._selector.cohort(
            version.round_idx, now_s=now_s, busy=busy, count=free, part=version.num_given
        )
        for planned in self._algorithm.plan(version.state, version.round_idx, cohort).tasks:
            k = planned.client_id
            task = replace(planned, position=version.num_given, score=version.score, repeat=version.given[k])
            launched = self._launch(task, version.broadcast, now_s)
            held = self._memory.shared_masks.get(k)
            flight = InFlightTask(
                round_idx=task.round_idx,
                position=task.position,
                client_id=k,
                score=task.score,
                start_s=now_s,
                download_bytes=version.broadcast.download_bytes(launched.jobs[0], held),
                number=self._num_given,
                repeat=task.repeat,
            )
            self._add(flight, launched)
            version.given[k] += 1
            self._num_given += 1
        return bool(cohort)

    def _launch(self, task: ClientTask, broadcast: Broadcast, start_s: float) -> SubmittedTasks:
        plan = RoundPlan(task.round_idx, (task,))
        return self._phases.launch(
            plan, broadcast.state, self._memory.states, broadcast=broadcast, score=task.score, start_s=start_s
        )

    def _add(self, flight: InFlightTask, launched: SubmittedTasks) -> None:
        least_s = self._least_s(flight, launched)
        self._tasks.append(
            _ActiveTask(flight, launched.broadcast, launched.jobs[0], launched.tickets[0], least_s)
        )

    def _least_s(self, flight: InFlightTask, launched: SubmittedTasks) -> float:
        """A lower bound of the emulated time at which the task's update can be there, or its device gone."""
        (job,) = launched.jobs
        profile = self._experiment.setting.profile_of(flight.client_id, flight.round_idx)
        flops = 0.0
        if self._algorithm.has_steady_cost:
            received, setting = launched.broadcast.received_by(job), self._experiment.setting
            mask = None if received is None else received.mask
            active = None if mask is None else setting.layout.active(mask)
            num_samples = len(self._experiment.partition.train[flight.client_id])
            seen = sum(batch_sizes(num_samples, setting.training, setting.smallest_batch))
            flops = setting.training.local_epochs * seen * setting.cost.training_flops(active)
        time = client_time(
            profile, download_bytes=flight.download_bytes, train_flops=flops, upload_bytes=0
        ).total_s
        available_s, share = departure(self._experiment, job, profile, flight.start_s)
        return flight.start_s + _ROUNDING * min(time * share, available_s)

    def _none_before(self, now_s: float) -> bool:
        """Whether it is certain, without waiting for a training, that nothing more arrives at this moment."""
        return all(task.order[0] > now_s for task in self._tasks)

    def _first(self, fold: Fold) -> _ActiveTask | None:
        """The task that is over first in emulated time, once that is certain; None where nobody is at work."""
        while self._tasks:
            task = min(self._tasks, key=lambda t: t.order)
            if task.known:
                return task
            flight = task.flight
            task.arrival = self._phases.arrival(
                task.broadcast, task.job, task.ticket, flight.start_s, flight.download_bytes, fold.failures
            )
            if task.arrival is None:
                task.lost_s = task.least_s
            elif task.arrival.at_s < task.least_s:
                raise RoundError(
                    f"{self._experiment.config.algorithm.name} says `steady_cost`, but client {flight.client_id} took "
                    f"{task.arrival.event.total_s:g} s, less than its full training would; take that back"
                )
        return None

    def _take(self, task: _ActiveTask, fold: Fold, begun: RoundInProgress) -> None:
        self._tasks.remove(task)
        if task.arrival is None:
            return
        fold.received(task.arrival)
        fold.take(task.arrival, self._fate(begun, task.arrival), begun.state.params)
        self._memory.shared_masks.update(fold.shared_masks)
        k = task.flight.client_id
        if k in fold.client_states:
            self._memory.states.stage(begun.round_idx, {k: fold.client_states[k]})

    def _fate(self, begun: RoundInProgress, arrival: Arrival) -> EventOutcome:
        if arrival.event.outcome == "vanished":
            return "vanished"
        oldest = self._config.max_staleness
        return (
            "stale" if oldest is not None and begun.round_idx - arrival.event.round_idx > oldest else "used"
        )
