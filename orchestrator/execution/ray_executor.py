"""The Ray executor runs client tasks on dedicated or pooled actors, and handles lost and hanging actors."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import ray
import torch

from orchestrator.errors import ActorsLostError, one_line
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
class _PendingTask:
    """A request that has no result yet."""

    handle: TaskHandle
    message: ray.ObjectRef[Any]
    request: TaskRequest


@dataclass(slots=True, eq=False)
class _ActorQueue:
    """An actor and its tasks, oldest first. The actor runs the first task since `began_s`.

    `answer` is a pending call that is ready as soon as the actor answers. The executor makes this call with the first
    task of an idle actor and after a loss. A lost actor (`lost_s`) gets no tasks until it answers again. A lost actor
    without a pending `answer` will not be restarted by Ray.
    """

    actor: Any
    name: str
    tasks: deque[tuple[ray.ObjectRef[Any], _PendingTask]] = field(default_factory=deque)
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
        self.description = f"Ray, {placement}{cpu_instead(in_use, cuda=torch.cuda.is_available())}"
        self.num_workers = len(actors)
        self._experiment, self._shared, self._dedicated = experiment, shared, placement.mode == "dedicated"
        self._store = store
        self._payloads: dict[ray.ObjectRef[Any], ray.ObjectRef[Any]] = {}
        self._clock, runtime = clock, experiment.config.runtime
        self._task_timeout_s, self._restart_timeout_s = runtime.task_timeout_s, runtime.restart_timeout_s
        self._max_in_flight = num_cores if self._dedicated else len(placement.actors) * POOLED_DEPTH
        self._queues = [
            _ActorQueue(actor, name) for actor, (name, _) in zip(actors, placement.actors, strict=True)
        ]
        self._queues_by_profile: dict[int, list[_ActorQueue]] = {}
        for queue, (_, profile) in zip(self._queues, placement.actors, strict=True):
            self._queues_by_profile.setdefault(profile, []).append(queue)
        self._backlog: deque[_PendingTask] = deque()
        self._in_flight: dict[ray.ObjectRef[Any], _ActorQueue] = {}
        self._done: dict[TaskHandle, Outcome[Any]] = {}
        self._message: tuple[Message, ray.ObjectRef[Any]] | None = None
        self._num_submitted = 0

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor. Requests with the same message object share one copy in the object store."""
        if self._message is None or self._message[0] is not message:
            self._message = message, ray.put(message.buffer)
        first = self._num_submitted
        for request in requests:
            self._backlog.append(_PendingTask(TaskHandle(self._num_submitted), self._message[1], request))
            self._num_submitted += 1
        self._dispatch()
        return tuple(TaskHandle(number) for number in range(first, self._num_submitted))

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
        waiting: deque[_PendingTask] = deque()
        while self._backlog and len(self._in_flight) < self._max_in_flight:
            submitted = self._backlog.popleft()
            request = submitted.request
            queue = self._free_queue(request.task)
            if queue is None:
                waiting.append(submitted)
                continue
            if not queue.tasks:  # an idle actor answers at once, unless it is lost
                queue.began_s, queue.answer = self._clock(), queue.actor.__ray_ready__.remote()
            ref = self._start(queue, submitted)
            queue.tasks.append((ref, submitted))
            self._in_flight[ref] = queue
        self._backlog.extendleft(reversed(waiting))

    def _start(self, queue: _ActorQueue, submitted: _PendingTask) -> ray.ObjectRef[Any]:
        """Send a task to an actor; the reference to its outcome."""
        request, actor = submitted.request, queue.actor
        arguments = request.task, submitted.message, request.unicast, request.client_state
        if self._store is None or request.task.kind not in STORED_KINDS:
            ref: ray.ObjectRef[Any] = actor.run.options(max_task_retries=0).remote(self._shared, *arguments)
            return ref
        stored = actor.run_and_store.options(max_task_retries=0, num_returns=2)
        ref, self._payloads[ref] = stored.remote(self._shared, *arguments)
        return ref

    def _outcome(self, ref: ray.ObjectRef[Any], submitted: _PendingTask) -> Outcome[Any]:
        """Fetch the outcome of a finished task. Raises Ray's error for a task that did not finish."""
        payload = self._payloads.pop(ref, None)
        outcome: Outcome[Any] = ray.get(ref)
        if self._store is None or payload is None or not isinstance(outcome, ClientUpdate):
            return outcome
        return self._store(submitted.message, submitted.request, outcome, payload)

    def _free_queue(self, task: ClientTask) -> _ActorQueue | None:
        depth = 1 if self._dedicated else POOLED_DEPTH
        free = [q for q in self._candidates(task) if q.lost_s is None and len(q.tasks) < depth]
        return min(free, key=lambda queue: len(queue.tasks), default=None)

    def _candidates(self, task: ClientTask) -> list[_ActorQueue]:
        """The actors that can run the task's client."""
        if self._dedicated:
            return [self._queues[task.client_id]]
        return self._queues_by_profile[self._experiment.setting.profile_index(task.client_id, task.round_idx)]

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
            outcome = self._outcome(ref, submitted)
        except GONE as error:
            self._lose(queue, "actor", f"{queue.name} died: {_cause(error)}")
        except ray.exceptions.RayError as error:
            self._remove(queue, ref)
            self._done[submitted.handle] = _failure(submitted.request.task, "actor", _cause(error))
        else:
            self._remove(queue, ref)
            self._done[submitted.handle] = outcome

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
            self._done[first.handle] = _failure(first.request.task, stage, cause)
            self._backlog.extendleft(reversed(others))
        queue.lost_s, queue.answer = self._clock(), queue.actor.__ray_ready__.remote()

    def _take_back(self, queue: _ActorQueue, timeout_s: float) -> list[_PendingTask]:
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
                    self._done[submitted.handle] = self._outcome(ref, submitted)
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
            elif self._task_timeout_s is not None and now_s - queue.began_s >= self._task_timeout_s:
                ray.kill(queue.actor, no_restart=False)
                cause = f"no answer within runtime.task_timeout_s={self._task_timeout_s:g}; {queue.name} was ended"
                self._lose(queue, "timeout", cause)

    def _wait_timeout_s(self) -> float | None:
        """Seconds until the next timeout of an actor or a task; None for no timeout."""
        timeouts_s = []
        for queue in self._queues:
            if queue.lost_s is not None:
                if not self._is_given_up(queue):
                    timeouts_s.append(queue.lost_s + self._restart_timeout_s)
            elif queue.tasks and queue.answer is not None:
                timeouts_s.append(queue.began_s + ANSWER_S)
            elif queue.tasks and self._task_timeout_s is not None:
                timeouts_s.append(queue.began_s + self._task_timeout_s)
        return max(0.0, min(timeouts_s) - self._clock()) if timeouts_s else None

    def _require_actors(self) -> None:
        """Raise ActorsLostError when all actors of a waiting request have been lost for too long."""
        if not any(self._is_given_up(queue) for queue in self._queues):
            return
        for submitted in self._backlog:
            queues = self._candidates(submitted.request.task)
            if all(self._is_given_up(queue) for queue in queues):
                task = submitted.request.task
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
