"""Asynchronous rounds: clients start and finish at different times, and the server steps when its buffer is full.

`training.clients_per_round` clients train at any emulated time. Emulated time alone orders their updates: the driver
takes an update only when no other update can still arrive before it. `least_s` gives this bound for tasks whose
training has not finished. Until then tasks train in parallel, in any order and on any machine.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import final

from orchestrator.aggregation.fold import Fold, PhaseResult
from orchestrator.aggregation.received_update import ReceivedUpdate
from orchestrator.errors import RoundError
from orchestrator.execution.executor import TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.client_event import ClientEvent, EventOutcome
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.fleet.clock import client_time
from orchestrator.formatting import counted
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.dropout import dropout_time
from orchestrator.rounds.phase import PhaseRunner, SubmittedTasks
from orchestrator.rounds.protocol import RoundInProgress
from orchestrator.rounds.sampler import MAX_POLLS, POLL_INTERVAL_S, CohortSampler, no_client_available
from orchestrator.storage.checkpoints.client_memory import ClientMemory
from orchestrator.storage.checkpoints.in_flight import InFlightTask

#: tasks that may fail or drop out for each update that a round needs, before the run ends
_MAX_TASKS_PER_UPDATE = 100
#: a computed bound and the time that a client counts may differ by rounding
_ROUNDING = 1.0 - 1e-9


@dataclass(eq=False)
class _ActiveTask:
    """A task that trains. `update` is None until the training has finished; `lost_s` is inf unless the task failed."""

    in_flight: InFlightTask
    broadcast: Broadcast
    request: TaskRequest
    handle: TaskHandle
    least_s: float
    update: ReceivedUpdate | None = None
    lost_s: float = inf

    @property
    def client_id(self) -> int:
        return self.in_flight.task.client_id

    @property
    def is_finished(self) -> bool:
        return self.update is not None or self.lost_s < inf

    @property
    def order(self) -> tuple[float, int]:
        """Emulated time of arrival, or its lower bound; then the order in which the tasks were submitted."""
        if self.update is not None:
            at_s = self.update.arrival_s
        else:
            at_s = self.lost_s if self.is_finished else self.least_s
        return at_s, self.in_flight.number


@dataclass(eq=False, kw_only=True)
class _ModelVersion:
    """The model with which new tasks start, and how many tasks of each client have started with it."""

    round_idx: int
    state: ServerState
    broadcast: Broadcast
    score: bool
    num_started: Counter[int] = field(default_factory=Counter)

    @property
    def num_tasks(self) -> int:
        """Tasks that started with this model."""
        return self.num_started.total()


@final
class AsynchronousRounds:
    """See Rounds. A round is the time between two server steps."""

    def __init__(self, experiment: Experiment, phases: PhaseRunner, memory: ClientMemory) -> None:
        self._experiment, self._phases, self._memory = experiment, phases, memory
        self._config, self._algorithm = experiment.config.asynchrony, experiment.algorithm
        self._concurrency = experiment.config.training.clients_per_round
        self._buffer_size = self._config.buffer_size if self._config.kind == "fedbuff" else 1
        self._sampler = CohortSampler(experiment)
        self._tasks: list[_ActiveTask] = []
        self._in_flight: tuple[InFlightTask, ...] = ()
        self._num_submitted = 0

    def begin(
        self, state: ServerState, round_idx: int, now_s: float, broadcast: Broadcast | None, *, score: bool
    ) -> RoundInProgress:
        """Let idle clients start with this state."""
        self._version = _ModelVersion(
            round_idx=round_idx,
            state=state,
            broadcast=broadcast or Broadcast.of(self._experiment, state),
            score=score,
        )
        self._start_tasks(now_s)
        return RoundInProgress(round_idx=round_idx, state=state, start_s=now_s)

    def end(self, started: RoundInProgress) -> PhaseResult:
        """Take updates in the order of emulated time until the buffer is full.

        New tasks start only when emulated time advances. So of several updates that arrive at the same moment, no task
        sees a server step too early.
        """
        fold = self._phases.fold(started.round_idx)
        now_s, waited_s, num_taken = started.start_s, 0.0, 0
        while fold.num_used < self._buffer_size:
            if self._none_arrives_at(now_s) and self._start_tasks(now_s):
                continue
            task = self._next(fold)
            if len(self._tasks) < self._concurrency and (task is None or task.order[0] > now_s):
                if self._start_tasks(now_s):
                    continue
                if task is None:
                    until_s = self._wait_for_client(started.round_idx, now_s)
                    now_s, waited_s = until_s, waited_s + until_s - now_s
                    continue
            assert task is not None
            # the sum of the rounds' seconds, at which this round started, may be a rounding after the task's end
            now_s, num_taken = max(now_s, task.order[0]), num_taken + 1
            self._take(task, fold, started)
            if num_taken > _MAX_TASKS_PER_UPDATE * self._buffer_size:
                causes = "".join(f"; {failure}" for failure in fold.failures[:3])
                raise RoundError(
                    f"round {started.round_idx}: only {fold.num_used} of {counted(num_taken, 'task')} gave an "
                    f"update that counts, the buffer needs {self._buffer_size}{causes}",
                    round_idx=started.round_idx,
                    num_updates=fold.num_used,
                )
        self._in_flight = tuple(task.in_flight for task in self._tasks)
        return fold.finish(started.state.params, now_s - started.start_s, waited_s=waited_s)

    def in_flight(self) -> Sequence[InFlightTask]:
        """See Rounds: the tasks that trained when the buffer was full."""
        return self._in_flight

    def restore(
        self,
        in_flight: Sequence[InFlightTask],
        state_before: Callable[[int], ServerState],
        events: Iterable[ClientEvent],
    ) -> None:
        """See Rounds. Guided sampling needs synchronous rounds, so that `events` are not read."""
        broadcasts: dict[int, Broadcast] = {}
        for restored in in_flight:
            version = restored.task.round_idx
            if version not in broadcasts:
                broadcasts[version] = Broadcast.of(self._experiment, state_before(version))
            self._add(restored, self._submit(restored.task, broadcasts[version], restored.start_s))
            self._num_submitted = restored.number + 1

    def _wait_for_client(self, round_idx: int, now_s: float) -> float:
        """The emulated time at which a client became available and started, when no client trains.

        Raises RoundError when no client becomes available for a week.
        """
        for _ in range(MAX_POLLS):
            now_s += POLL_INTERVAL_S
            if self._start_tasks(now_s):
                return now_s
        raise no_client_available(round_idx)

    def _start_tasks(self, now_s: float) -> bool:
        """Let available clients start until `clients_per_round` train; whether any client started."""
        version, num_free = self._version, self._concurrency - len(self._tasks)
        if not num_free:
            return False
        busy = {task.client_id for task in self._tasks}
        cohort = self._sampler.cohort(
            version.round_idx, now_s=now_s, busy=busy, count=num_free, part=version.num_tasks
        )
        for planned in self._algorithm.plan(version.state, version.round_idx, cohort).tasks:
            k = planned.client_id
            task = replace(
                planned, position=version.num_tasks, score=version.score, repeat=version.num_started[k]
            )
            submitted = self._submit(task, version.broadcast, now_s)
            in_flight = InFlightTask(
                task=task,
                start_s=now_s,
                download_bytes=version.broadcast.download_bytes(
                    submitted.requests[0], self._memory.shared_mask(k)
                ),
                number=self._num_submitted,
            )
            self._add(in_flight, submitted)
            version.num_started[k] += 1
            self._num_submitted += 1
        return bool(cohort)

    def _submit(self, task: ClientTask, broadcast: Broadcast, start_s: float) -> SubmittedTasks:
        plan = RoundPlan(task.round_idx, (task,))
        return self._phases.submit(
            plan, broadcast.state, broadcast=broadcast, score=task.score, start_s=start_s
        )

    def _add(self, in_flight: InFlightTask, submitted: SubmittedTasks) -> None:
        (request,), (handle,) = submitted.requests, submitted.handles
        least_s = self._earliest_end_s(in_flight, submitted.broadcast, request)
        self._tasks.append(_ActiveTask(in_flight, submitted.broadcast, request, handle, least_s))

    def _earliest_end_s(self, in_flight: InFlightTask, broadcast: Broadcast, request: TaskRequest) -> float:
        """A lower bound of the emulated time at which the task's update arrives, or its device drops out."""
        task = in_flight.task
        profile = self._experiment.setting.profile_of(task.client_id, task.round_idx)
        flops = unmasked = 0.0
        if self._algorithm.has_steady_cost:
            received, setting = broadcast.received_by(request), self._experiment.setting
            mask = None if received is None else received.mask
            active = None if mask is None else setting.layout.active(mask)
            num_samples = len(self._experiment.partition.train[task.client_id])
            flops = setting.training.local_epochs * num_samples * setting.cost.training_flops(active)
            # the mask of a submodel's entries is no mask of the submodel
            is_masked = not self._algorithm.capabilities.submodels
            unmasked = setting.training.local_epochs * num_samples * setting.cost.training_flops(None)
            unmasked = unmasked if is_masked else flops
        time = client_time(
            profile,
            download_bytes=in_flight.download_bytes,
            train_flops=flops,
            unmasked_flops=unmasked,
            upload_bytes=0,
        ).total_s
        available_s, share = dropout_time(self._experiment, task, profile, in_flight.start_s)
        return in_flight.start_s + _ROUNDING * min(time * share, available_s)

    def _none_arrives_at(self, now_s: float) -> bool:
        """Whether it is certain, without waiting for a training, that no update arrives at this moment."""
        return all(task.order[0] > now_s for task in self._tasks)

    def _next(self, fold: Fold) -> _ActiveTask | None:
        """The task that ends first in emulated time, as soon as this is certain; None when no client trains."""
        while self._tasks:
            active = min(self._tasks, key=lambda t: t.order)
            if active.is_finished:
                return active
            in_flight = active.in_flight
            active.update = self._phases.update(
                active.broadcast,
                active.request,
                active.handle,
                in_flight.start_s,
                in_flight.download_bytes,
                fold.failures,
            )
            if active.update is None:
                active.lost_s = active.least_s
            elif active.update.arrival_s < active.least_s:
                raise RoundError(
                    f"{self._experiment.config.algorithm.name} claims `steady_cost`, but client {active.client_id} "
                    f"took {active.update.event.total_s:g} s, less than its full training would; remove the claim",
                    client_id=active.client_id,
                )
        return None

    def _take(self, active: _ActiveTask, fold: Fold, started: RoundInProgress) -> None:
        self._tasks.remove(active)
        if active.update is not None:
            fold.note_download(active.update)
            fold.add(active.update, self._outcome(started, active.update), started.state.params)

    def _outcome(self, started: RoundInProgress, update: ReceivedUpdate) -> EventOutcome:
        if update.event.outcome == "vanished":
            return "vanished"
        oldest = self._config.max_staleness
        is_stale = oldest is not None and started.round_idx - update.event.round_idx > oldest
        return "stale" if is_stale else "used"
