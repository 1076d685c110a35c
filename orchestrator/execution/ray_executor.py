"""The Ray executor runs client tasks on dedicated or pooled actors, and handles lost and hanging actors."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import ray
import torch

from orchestrator.errors import ActorsLostError, one_line
from orchestrator.execution.bundles.plan import BundlePlan
from orchestrator.execution.client_device import cpu_instead
from orchestrator.execution.executor import Message, TaskHandle, TaskRequest
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import GONE
from orchestrator.execution.ray_sharing import SharedExperiment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientFailure, ClientUpdate, Outcome, StoredUpdate

#: tasks of one pooled actor at a time: one that it runs, and one that it can start at once
POOLED_DEPTH = 2
#: an idle actor that does not answer within this time is lost; the tasks of a dead actor fail well within it
ANSWER_S = 10.0
#: kinds of tasks whose updates are averaged
STORED_KINDS = ("train", "probe")
#: (broadcast, request, update without its payload, encoded payload) -> the update as the driver gets it
StoreUpdate = Callable[
    [ray.ObjectRef[Any], TaskRequest, ClientUpdate[Any], ray.ObjectRef[Any]], StoredUpdate[Any]
]


@dataclass(frozen=True, slots=True, eq=False)
class _PendingCall:
    """Requests of one call to an actor, by handle, that have no result yet: one, or those of a bundle."""

    message: ray.ObjectRef[Any]
    requests: Mapping[TaskHandle, TaskRequest]

    @property
    def task(self) -> ClientTask:
        """The first task."""
        return next(iter(self.requests.values())).task

    def outcomes(self, outcomes: Sequence[Outcome[Any]]) -> dict[TaskHandle, Outcome[Any]]:
        """The outcomes by handle."""
        return dict(zip(self.requests, outcomes, strict=True))

    def failures(self, stage: str, cause: str) -> dict[TaskHandle, Outcome[Any]]:
        """The same failure of all tasks, by handle."""
        return {handle: _failure(each.task, stage, cause) for handle, each in self.requests.items()}


@dataclass(slots=True, eq=False)
class _ActorQueue:
    """An actor and its tasks, oldest first. The actor runs the first task since `began_s`.

    `answer` is a pending call that is ready as soon as the actor answers. The executor makes this call with the first
    task of an idle actor and after a loss. A lost actor (`lost_s`) gets no tasks until it answers again. A lost actor
    without a pending `answer` will not be restarted by Ray.
    """

    actor: Any
    name: str
    tasks: deque[tuple[ray.ObjectRef[Any], _PendingCall]] = field(default_factory=deque)
    began_s: float = 0.0
    lost_s: float | None = None
    answer: ray.ObjectRef[Any] | None = None


@final
class RayExecutor:
    """Keeps actors busy from one backlog, in the order of submission.

    A task whose actor dies, or gives no result for `runtime.task_timeout_s`, results in a ClientFailure. The other
    tasks of this actor return to the backlog. `result` raises ActorsLostError when Ray does not restart a needed
    actor within `runtime.restart_timeout_s`.
    """

    def __init__(
        self,
        experiment: Experiment,
        shared: SharedExperiment,
        placement: Placement,
        actors: Sequence[Any],
        *,
        num_cores: int,
        store: StoreUpdate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`actors` are the placement's actors in its order; the caller ends them. `clock` gives seconds.

        `store` receives the references of updates whose payloads stay in the object store; None: no such updates.
        """
        profiles = experiment.setting.profiles
        in_use = [profiles[index] for index in sorted({index for _, index in placement.actors})]
        self._bundles = BundlePlan(
            experiment,
            uses_gpu=lambda share: share > 0,  # an actor that finds no GPU trains one by one
            obstacle="each dedicated actor has one client; use runtime.actors=pooled"
            if placement.mode == "dedicated"
            else None,
        )
        instead = cpu_instead(in_use, cuda=torch.cuda.is_available())
        self.description = f"Ray, {placement}{instead}{self._bundles.note}"
        self.num_workers = len(actors)
        self._experiment, self._shared, self._dedicated = experiment, shared, placement.mode == "dedicated"
        self._store = store
        self._payloads: dict[ray.ObjectRef[Any], Sequence[ray.ObjectRef[Any]]] = {}
        self._clock, runtime = clock, experiment.config.runtime
        self._task_timeout_s, self._restart_timeout_s = runtime.task_timeout_s, runtime.restart_timeout_s
        self._max_in_flight = num_cores if self._dedicated else len(placement.actors) * POOLED_DEPTH
        self._queues = [
            _ActorQueue(actor, name) for actor, (name, _) in zip(actors, placement.actors, strict=True)
        ]
        self._queues_by_profile: dict[int, list[_ActorQueue]] = {}
        for queue, (_, profile) in zip(self._queues, placement.actors, strict=True):
            self._queues_by_profile.setdefault(profile, []).append(queue)
        self._backlog: deque[_PendingCall] = deque()
        self._in_flight: dict[ray.ObjectRef[Any], _ActorQueue] = {}
        self._done: dict[TaskHandle, Outcome[Any]] = {}
        self._message: tuple[Message, ray.ObjectRef[Any]] | None = None
        self._num_submitted = 0

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor. Requests with the same message object share one copy in the object store."""
        if self._message is None or self._message[0] is not message:
            self._message = message, ray.put(message.buffer)
        handles = tuple(TaskHandle(self._num_submitted + place) for place in range(len(requests)))
        self._num_submitted += len(requests)
        for places in self._bundles.bundles([request.task for request in requests], self._num_actors):
            of_call = {handles[place]: requests[place] for place in places}
            self._backlog.append(_PendingCall(self._message[1], of_call))
        self._dispatch()
        return handles

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        while handle not in self._done:
            if not self._in_flight and not self._backlog:
                raise KeyError(handle)
            self._require_actors()
            answers = {queue.answer: queue for queue in self._queues if queue.answer is not None}
            refs = [*self._in_flight, *answers]
            self._process_ready(refs, answers, num_returns=1, timeout_s=self._wait_timeout_s())
            # results that are ready by now are not late, even if the driver collects them late
            self._process_ready(list(self._in_flight), {}, num_returns=len(self._in_flight), timeout_s=0.0)
            self._end_overdue()
            self._dispatch()
        return self._done.pop(handle)

    def close(self) -> None:
        """See Executor. The actors stay alive for their next executor, and this waits for their current tasks.

        An actor that does not finish in time is killed, and Ray restarts it.
        """
        self._backlog.clear()
        refs = list(self._in_flight)
        if refs:
            timeout_s = self._task_timeout_s or self._restart_timeout_s
            _, late = ray.wait(refs, num_returns=len(refs), timeout=timeout_s)
            for queue in {id(self._in_flight[ref]): self._in_flight[ref] for ref in late}.values():
                ray.kill(queue.actor, no_restart=False)
        self._in_flight.clear()
        self._payloads.clear()
        for queue in self._queues:
            queue.tasks.clear()

    def _dispatch(self) -> None:
        """Give waiting requests to free actors, oldest first. A request without a free actor lets later ones pass."""
        waiting: deque[_PendingCall] = deque()
        while self._backlog and len(self._in_flight) < self._max_in_flight:
            submitted = self._backlog.popleft()
            queue = self._free_queue(submitted.task)
            if queue is None:
                waiting.append(submitted)
                continue
            if not queue.tasks:  # an idle actor answers at once, unless it is lost
                queue.began_s, queue.answer = self._clock(), queue.actor.__ray_ready__.remote()
            ref = self._start(queue, submitted)
            queue.tasks.append((ref, submitted))
            self._in_flight[ref] = queue
        self._backlog.extendleft(reversed(waiting))

    def _start(self, queue: _ActorQueue, submitted: _PendingCall) -> ray.ObjectRef[Any]:
        """Send a call to an actor; the reference to its outcome, or to the tuple of its outcomes."""
        actor, requests = queue.actor, tuple(submitted.requests.values())
        is_bundle = len(requests) > 1
        request, message = requests[0], submitted.message
        if is_bundle:
            arguments: tuple[Any, ...] = requests, message
        else:
            arguments = request.task, message, request.unicast, request.client_state
        if self._store is None or request.task.kind not in STORED_KINDS:
            method = actor.run_bundle if is_bundle else actor.run
            ref: ray.ObjectRef[Any] = method.options(max_task_retries=0).remote(self._shared, *arguments)
            return ref
        method = actor.run_bundle_and_store if is_bundle else actor.run_and_store
        stored = method.options(max_task_retries=0, num_returns=1 + len(requests))
        ref, *self._payloads[ref] = stored.remote(self._shared, *arguments)
        return ref

    def _outcomes(self, ref: ray.ObjectRef[Any], submitted: _PendingCall) -> dict[TaskHandle, Outcome[Any]]:
        """Fetch the outcomes of a finished call. Raises Ray's error for a call that did not finish."""
        payloads = self._payloads.pop(ref, None)
        found = ray.get(ref)
        outcomes = list(found) if len(submitted.requests) > 1 else [found]
        if self._store is not None and payloads is not None:
            for place, (request, payload) in enumerate(
                zip(submitted.requests.values(), payloads, strict=True)
            ):
                if isinstance(outcome := outcomes[place], ClientUpdate):
                    outcomes[place] = self._store(submitted.message, request, outcome, payload)
        return submitted.outcomes(outcomes)

    def _free_queue(self, task: ClientTask) -> _ActorQueue | None:
        depth = 1 if self._dedicated else POOLED_DEPTH
        free = [q for q in self._candidates(task) if q.lost_s is None and len(q.tasks) < depth]
        return min(free, key=lambda queue: len(queue.tasks), default=None)

    def _candidates(self, task: ClientTask) -> list[_ActorQueue]:
        """The actors that can run the task's client."""
        if self._dedicated:
            return [self._queues[task.client_id]]
        return self._queues_by_profile[self._experiment.setting.profile_index(task.client_id, task.round_idx)]

    def _num_actors(self, profile: int) -> int:
        """Number of actors that run the clients of a profile."""
        return len(self._queues_by_profile[profile])

    def _process_ready(
        self,
        refs: list[ray.ObjectRef[Any]],
        answers: dict[ray.ObjectRef[Any], _ActorQueue],
        *,
        num_returns: int,
        timeout_s: float | None,
    ) -> None:
        """Wait for this number of results or answers, and process all that are ready."""
        if not refs:
            return
        ready, _ = ray.wait(refs, num_returns=num_returns, timeout=timeout_s)
        for ref in ready:
            if ref in answers:
                self._process_answer(answers[ref])
            elif ref in self._in_flight:  # the loss of its actor may have removed it meanwhile
                self._receive(ref)

    def _process_answer(self, queue: _ActorQueue) -> None:
        """Note that an actor is available, or that Ray does not restart it."""
        if queue.answer is None:
            return
        try:
            ray.get(queue.answer)
        except ray.exceptions.RayError:
            queue.lost_s = self._clock() if queue.lost_s is None else queue.lost_s
        else:
            queue.lost_s = None
        queue.answer = None

    def _receive(self, ref: ray.ObjectRef[Any]) -> None:
        queue = self._in_flight[ref]
        submitted = next(submitted for one, submitted in queue.tasks if one == ref)
        try:
            outcomes = self._outcomes(ref, submitted)
        except GONE as error:
            self._lose(queue, "actor", f"{queue.name} died: {_cause(error)}")
        except ray.exceptions.RayError as error:
            self._remove(queue, ref)
            self._done |= submitted.failures("actor", _cause(error))
        else:
            self._remove(queue, ref)
            self._done |= outcomes

    def _remove(self, queue: _ActorQueue, ref: ray.ObjectRef[Any]) -> None:
        """Remove a finished task from its actor's queue."""
        del self._in_flight[ref]
        queue.tasks = deque(entry for entry in queue.tasks if entry[0] != ref)
        queue.began_s = self._clock()

    def _lose(self, queue: _ActorQueue, stage: str, cause: str) -> None:
        """Handle a lost actor: keep finished results, fail the current task, return the others to the backlog."""
        unfinished = self._take_back(queue, ANSWER_S)
        if unfinished:
            first, *others = unfinished
            self._done |= first.failures(stage, cause)
            self._backlog.extendleft(reversed(others))
        queue.lost_s, queue.answer = self._clock(), queue.actor.__ray_ready__.remote()

    def _take_back(self, queue: _ActorQueue, timeout_s: float) -> list[_PendingCall]:
        """Empty a lost actor's queue. Keeps finished results and returns the unfinished tasks.

        The tasks of a dead actor fail within `timeout_s`; tasks that are still pending then are cancelled.
        """
        tasks, queue.tasks = list(queue.tasks), deque()
        ready, _ = ray.wait([ref for ref, _ in tasks], num_returns=len(tasks), timeout=timeout_s)
        unfinished = []
        for ref, submitted in tasks:
            del self._in_flight[ref]
            try:
                if ref in ready:
                    self._done |= self._outcomes(ref, submitted)
                    continue
                self._payloads.pop(ref, None)
                ray.cancel(ref)  # it would run when the actor returns, perhaps much later
            except ray.exceptions.RayError:
                pass
            unfinished.append(submitted)
        return unfinished

    def _end_overdue(self) -> None:
        """Find actors that do not answer although no call failed, and kill actors whose task takes too long."""
        now_s = self._clock()
        for queue in self._queues:
            if not queue.tasks:
                continue
            if queue.answer is not None:
                if now_s - queue.began_s >= ANSWER_S:
                    answer = queue.answer
                    self._backlog.extendleft(reversed(self._take_back(queue, 0.0)))
                    queue.lost_s, queue.answer = queue.began_s, answer
            elif (limit_s := self._limit_s(queue)) is not None and now_s - queue.began_s >= limit_s:
                ray.kill(queue.actor, no_restart=False)
                cause = f"no answer within runtime.task_timeout_s={self._task_timeout_s:g}; {queue.name} was ended"
                self._lose(queue, "timeout", cause)

    def _limit_s(self, queue: _ActorQueue) -> float | None:
        """Seconds that an actor's current call may take: the limit of a task, for each task of the call."""
        if self._task_timeout_s is None:
            return None
        return self._task_timeout_s * len(queue.tasks[0][1].requests)

    def _wait_timeout_s(self) -> float | None:
        """Seconds until the next timeout of an actor or a task; None for no timeout."""
        timeouts_s = []
        for queue in self._queues:
            if queue.lost_s is not None:
                if not self._is_given_up(queue):
                    timeouts_s.append(queue.lost_s + self._restart_timeout_s)
            elif queue.tasks and queue.answer is not None:
                timeouts_s.append(queue.began_s + ANSWER_S)
            elif queue.tasks and (limit_s := self._limit_s(queue)) is not None:
                timeouts_s.append(queue.began_s + limit_s)
        return max(0.0, min(timeouts_s) - self._clock()) if timeouts_s else None

    def _require_actors(self) -> None:
        """Raise ActorsLostError when all actors of a waiting request have been lost for too long."""
        if not any(self._is_given_up(queue) for queue in self._queues):
            return
        for submitted in self._backlog:
            task = submitted.task
            queues = self._candidates(task)
            if all(self._is_given_up(queue) for queue in queues):
                actors = [queue.name for queue in queues]
                raise ActorsLostError(
                    f"client {task.client_id}, round {task.round_idx}: its actors ({', '.join(actors)}) were lost, and "
                    f"Ray has not restarted them within runtime.restart_timeout_s={self._restart_timeout_s:g}",
                    actors=actors,
                )

    def _is_given_up(self, queue: _ActorQueue) -> bool:
        if queue.lost_s is None:
            return False
        return queue.answer is None or self._clock() - queue.lost_s >= self._restart_timeout_s


def _failure(task: ClientTask, stage: str, cause: str) -> ClientFailure:
    return ClientFailure(
        round_idx=task.round_idx,
        position=task.position,
        client_id=task.client_id,
        stage=stage,
        cause=cause,
    )


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
