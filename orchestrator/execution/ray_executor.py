"""The Ray executor: client tasks on dedicated or pooled actors, and what becomes of them when an actor is lost."""

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
from orchestrator.federation.update import ClientFailure, Outcome

#: tasks given to one pooled actor at a time: one that it runs, and one to go on with at once
POOLED_DEPTH = 2
#: an idle actor that does not answer for so long is not there; the tasks of one that died fail well within it
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class _Submitted:
    """A job that has no result yet."""

    ticket: TaskHandle
    message: ray.ObjectRef[Any]
    job: TaskRequest


@dataclass(slots=True, eq=False)
class _ActorQueue:
    """An actor and the tasks that it was given, oldest first: the first is the one that it runs, since `began_s`.

    `answer` is ready once it has answered; it is asked when it is given its first task, and when it was lost. It is
    lost since `lost_s`, and until it has answered: nothing is given to it, and Ray restarts it. `answer` is None for
    one that is there, and for one that Ray does not restart.
    """

    actor: Any
    name: str
    tasks: deque[tuple[ray.ObjectRef[Any], _Submitted]] = field(default_factory=deque)
    began_s: float = 0.0
    lost_s: float | None = None
    answer: ray.ObjectRef[Any] | None = None


@final
class RayExecutor:
    """Keeps actors busy from one backlog, in submission order; results come back by ticket.

    A task whose actor dies, with its node or alone, or gives no answer for `runtime.task_timeout_s`, comes back as a
    ClientFailure; those that the actor had not begun go to whoever is free. Raises ActorsLostError when Ray has not
    brought back an actor that is needed within `runtime.restart_timeout_s`.
    """

    def __init__(
        self,
        experiment: Experiment,
        shared: SharedExperiment,
        placement: Placement,
        actors: Sequence[Any],
        *,
        num_cores: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`actors` are those of the placement, in its order; whoever started them ends them. `clock` is in seconds."""
        profiles = experiment.setting.profiles
        in_use = [profiles[index] for index in sorted({index for _, index in placement.actors})]
        self.description = f"Ray, {placement}{cpu_instead(in_use, cuda=torch.cuda.is_available())}"
        self._experiment, self._shared, self._dedicated = experiment, shared, placement.mode == "dedicated"
        self._clock, runtime = clock, experiment.config.runtime
        self._task_timeout_s, self._restart_timeout_s = runtime.task_timeout_s, runtime.restart_timeout_s
        self._most_in_flight = num_cores if self._dedicated else len(placement.actors) * POOLED_DEPTH
        self._places = [
            _ActorQueue(actor, name) for actor, (name, _) in zip(actors, placement.actors, strict=True)
        ]
        self._profile_places: dict[int, list[_ActorQueue]] = {}
        for place, (_, profile) in zip(self._places, placement.actors, strict=True):
            self._profile_places.setdefault(profile, []).append(place)
        self._backlog: deque[_Submitted] = deque()
        self._in_flight: dict[ray.ObjectRef[Any], _ActorQueue] = {}
        self._done: dict[TaskHandle, Outcome[Any]] = {}
        self._message: tuple[Message, ray.ObjectRef[Any]] | None = None
        self._issued = 0

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor. A message goes into the object store once, however many jobs it is for."""
        if self._message is None or self._message[0] is not message:
            self._message = message, ray.put(message.buffer)
        first = self._issued
        for job in jobs:
            self._backlog.append(_Submitted(TaskHandle(self._issued), self._message[1], job))
            self._issued += 1
        self._dispatch()
        return tuple(TaskHandle(number) for number in range(first, self._issued))

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        while ticket not in self._done:
            if not self._in_flight and not self._backlog:
                raise KeyError(ticket)
            self._require_somebody()
            asked = {place.answer: place for place in self._places if place.answer is not None}
            self._take_in([*self._in_flight, *asked], asked, num_wanted=1, timeout_s=self._patience_s())
            # whatever else is there already was not late, however long nobody looked
            self._take_in(list(self._in_flight), {}, num_wanted=len(self._in_flight), timeout_s=0.0)
            self._end_overdue()
            self._dispatch()
        return self._done.pop(ticket)

    def close(self) -> None:
        """See Executor. The actors stay; what they were given is waited for, so that they are free for others.

        One that does not come to its end within the time that it may take is killed; Ray restarts it.
        """
        self._backlog.clear()
        refs = list(self._in_flight)
        if refs:
            patience_s = self._task_timeout_s or self._restart_timeout_s
            _, late = ray.wait(refs, num_returns=len(refs), timeout=patience_s)
            for place in {id(self._in_flight[ref]): self._in_flight[ref] for ref in late}.values():
                ray.kill(place.actor, no_restart=False)
        self._in_flight.clear()
        for place in self._places:
            place.tasks.clear()

    def _dispatch(self) -> None:
        """Give waiting jobs to actors with room, oldest first; a job without room lets later ones pass."""
        kept: deque[_Submitted] = deque()
        while self._backlog and len(self._in_flight) < self._most_in_flight:
            submitted = self._backlog.popleft()
            place = self._free_place(submitted.job.task)
            if place is None:
                kept.append(submitted)
                continue
            job = submitted.job
            if not place.tasks:  # it is idle, so that it answers at once if it is there
                place.began_s, place.answer = self._clock(), place.actor.__ray_ready__.remote()
            ref = place.actor.run.options(max_task_retries=0).remote(
                self._shared, job.task, submitted.message, job.unicast, job.client_state
            )
            place.tasks.append((ref, submitted))
            self._in_flight[ref] = place
        self._backlog.extendleft(reversed(kept))

    def _free_place(self, task: ClientTask) -> _ActorQueue | None:
        depth = 1 if self._dedicated else POOLED_DEPTH
        free = [p for p in self._candidates(task) if p.lost_s is None and len(p.tasks) < depth]
        return min(free, key=lambda place: len(place.tasks), default=None)

    def _candidates(self, task: ClientTask) -> list[_ActorQueue]:
        """The actors that can embody the task's client."""
        if self._dedicated:
            return [self._places[task.client_id]]
        return self._profile_places[self._experiment.setting.profile_index(task.client_id, task.round_idx)]

    def _take_in(
        self,
        refs: list[ray.ObjectRef[Any]],
        asked: dict[ray.ObjectRef[Any], _ActorQueue],
        *,
        num_wanted: int,
        timeout_s: float | None,
    ) -> None:
        """Wait for so many results or answers, and see to all that are ready."""
        if not refs:
            return
        ready, _ = ray.wait(refs, num_returns=num_wanted, timeout=timeout_s)
        for ref in ready:
            if ref in asked:
                self._answered(asked[ref])
            elif ref in self._in_flight:  # it may have gone with its actor in the meantime
                self._receive(ref)

    def _answered(self, place: _ActorQueue) -> None:
        """An actor is there, or there again; one that Ray does not restart any more is lost for good."""
        if place.answer is None:
            return
        try:
            ray.get(place.answer)
        except ray.exceptions.RayError:
            place.lost_s = self._clock() if place.lost_s is None else place.lost_s
        else:
            place.lost_s = None
        place.answer = None

    def _receive(self, ref: ray.ObjectRef[Any]) -> None:
        place = self._in_flight[ref]
        try:
            outcome = ray.get(ref)
        except GONE as error:
            self._lose(place, "actor", f"{place.name} died: {_cause(error)}")
        except ray.exceptions.RayError as error:
            submitted = self._strike_off(place, ref)
            self._done[submitted.ticket] = _failure(submitted.job.task, "actor", _cause(error))
        else:
            self._done[self._strike_off(place, ref).ticket] = outcome

    def _strike_off(self, place: _ActorQueue, ref: ray.ObjectRef[Any]) -> _Submitted:
        """A task is off its actor's list."""
        del self._in_flight[ref]
        submitted = next(submitted for one, submitted in place.tasks if one == ref)
        place.tasks = deque(entry for entry in place.tasks if entry[0] != ref)
        place.began_s = self._clock()
        return submitted

    def _lose(self, place: _ActorQueue, stage: str, cause: str) -> None:
        """An actor is gone: keep what it had finished, blame the task that it was at, and take the others back."""
        unfinished = self._take_back(place, ANSWER_S)
        if unfinished:
            first, *others = unfinished
            self._done[first.ticket] = _failure(first.job.task, stage, cause)
            self._backlog.extendleft(reversed(others))
        place.lost_s, place.answer = self._clock(), place.actor.__ray_ready__.remote()

    def _take_back(self, place: _ActorQueue, patience_s: float) -> list[_Submitted]:
        """The tasks that an actor which is gone has not finished; results that it had given are received.

        With the actor its tasks fail, within `patience_s`; those that have not are cancelled.
        """
        tasks, place.tasks = list(place.tasks), deque()
        ready, _ = ray.wait([ref for ref, _ in tasks], num_returns=len(tasks), timeout=patience_s)
        unfinished = []
        for ref, submitted in tasks:
            del self._in_flight[ref]
            try:
                if ref in ready:
                    self._done[submitted.ticket] = ray.get(ref)
                    continue
                ray.cancel(ref)  # it waits for an actor that may come back much later
            except ray.exceptions.RayError:
                pass
            unfinished.append(submitted)
        return unfinished

    def _end_overdue(self) -> None:
        """See to the actors that are not there though nothing has failed, and kill those at one task for too long."""
        now_s = self._clock()
        for place in self._places:
            if not place.tasks:
                continue
            if place.answer is not None:
                if now_s - place.began_s >= ANSWER_S:
                    answer = place.answer
                    self._backlog.extendleft(reversed(self._take_back(place, 0.0)))
                    place.lost_s, place.answer = place.began_s, answer
            elif self._task_timeout_s is not None and now_s - place.began_s >= self._task_timeout_s:
                ray.kill(place.actor, no_restart=False)
                cause = f"no answer within runtime.task_timeout_s={self._task_timeout_s:g}; {place.name} was ended"
                self._lose(place, "timeout", cause)

    def _patience_s(self) -> float | None:
        """Seconds until somebody has been away, or at a task, for too long; None: nobody can be."""
        moments = []
        for place in self._places:
            if place.lost_s is not None:
                if not self._is_given_up(place):
                    moments.append(place.lost_s + self._restart_timeout_s)
            elif place.tasks and place.answer is not None:
                moments.append(place.began_s + ANSWER_S)
            elif place.tasks and self._task_timeout_s is not None:
                moments.append(place.began_s + self._task_timeout_s)
        return max(0.0, min(moments) - self._clock()) if moments else None

    def _require_somebody(self) -> None:
        """Raise ActorsLostError when a waiting job's actors have all been away for too long."""
        if not any(self._is_given_up(place) for place in self._places):
            return
        for submitted in self._backlog:
            places = self._candidates(submitted.job.task)
            if all(self._is_given_up(place) for place in places):
                task, names = submitted.job.task, ", ".join(place.name for place in places)
                raise ActorsLostError(
                    f"client {task.client_id}, round {task.round_idx}: its actors ({names}) were lost, and Ray has not "
                    f"restarted them within runtime.restart_timeout_s={self._restart_timeout_s:g}"
                )

    def _is_given_up(self, place: _ActorQueue) -> bool:
        if place.lost_s is None:
            return False
        return place.answer is None or self._clock() - place.lost_s >= self._restart_timeout_s


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
