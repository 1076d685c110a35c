"""The Ray executor: client tasks on dedicated or pooled actors, and what becomes of them when an actor is lost."""

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import ray
import torch
from ray.util import list_named_actors

from orchestrator.errors import ActorsLostError, SparsefleetError
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientFailure, Outcome
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.runtime.client_actor import ClientActor
from orchestrator.runtime.client_device import cpu_instead
from orchestrator.runtime.executor import Job, Message, Ticket
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.packing import hardest_first
from orchestrator.runtime.placement import Placement
from orchestrator.runtime.ray_sharing import SharedExperiment

#: tasks given to one pooled actor at a time: one that it runs, and one to go on with at once
POOLED_DEPTH = 2

#: what says that an actor is gone, for good or until Ray has restarted it, and the tasks that it had with it
_GONE = (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError, ray.exceptions.NodeDiedError)


#: how long Ray may hold on to a dead actor's name
_NAME_FREE_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class _Submitted:
    """A job that has no result yet."""

    ticket: Ticket
    message: ray.ObjectRef[Any]
    job: Job


@dataclass(slots=True, eq=False)
class _Place:
    """An actor and the tasks that it was given, oldest first: the first is the one that it runs.

    `began_s` is when it turned to that one. `lost_s` is when it was found gone; while it is, Ray restarts it and
    nothing is given to it, and `back` is ready once it is there again.
    """

    actor: Any
    name: str
    tasks: deque[tuple[ray.ObjectRef[Any], _Submitted]] = field(default_factory=deque)
    began_s: float = 0.0
    lost_s: float | None = None
    back: ray.ObjectRef[Any] | None = None
    overdue: bool = False


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
            _Place(actor, name) for actor, (name, _) in zip(actors, placement.actors, strict=True)
        ]
        self._profile_places: dict[int, list[_Place]] = {}
        for place, (_, profile) in zip(self._places, placement.actors, strict=True):
            self._profile_places.setdefault(profile, []).append(place)
        self._backlog: deque[_Submitted] = deque()
        self._in_flight: dict[ray.ObjectRef[Any], _Place] = {}
        self._done: dict[Ticket, Outcome[Any]] = {}
        self._message: tuple[Message, ray.ObjectRef[Any]] | None = None
        self._issued = 0

    def submit(self, message: Message, jobs: Sequence[Job]) -> tuple[Ticket, ...]:
        """See Executor. A message goes into the object store once, however many jobs it is for."""
        if self._message is None or self._message[0] is not message:
            self._message = message, ray.put(message.buffer)
        first = self._issued
        for job in jobs:
            self._backlog.append(_Submitted(Ticket(self._issued), self._message[1], job))
            self._issued += 1
        self._dispatch()
        return tuple(Ticket(number) for number in range(first, self._issued))

    def result(self, ticket: Ticket) -> Outcome[Any]:
        """See Executor."""
        while ticket not in self._done:
            if not self._in_flight and not self._backlog:
                raise KeyError(ticket)
            self._require_somebody()
            returning = {place.back: place for place in self._places if place.back is not None}
            ready, _ = ray.wait([*self._in_flight, *returning], num_returns=1, timeout=self._patience_s())
            for ref in ready:
                if ref in returning:
                    self._welcome(returning[ref])
                elif ref in self._in_flight:  # it may have gone with its actor in the meantime
                    self._receive(ref)
            self._end_overdue()
            self._dispatch()
        return self._done.pop(ticket)

    def close(self) -> None:
        """See Executor. The actors stay; what they were given is waited for, so that they are free for others."""
        self._backlog.clear()
        if self._in_flight:
            ray.wait(list(self._in_flight), num_returns=len(self._in_flight), timeout=self._task_timeout_s)
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
            ref = place.actor.run.options(max_task_retries=0).remote(
                self._shared, job.task, submitted.message, job.unicast, job.client_state
            )
            if not place.tasks:
                place.began_s = self._clock()
            place.tasks.append((ref, submitted))
            self._in_flight[ref] = place
        self._backlog.extendleft(reversed(kept))

    def _free_place(self, task: ClientTask) -> _Place | None:
        places = self._candidates(task)
        depth = 1 if self._dedicated else POOLED_DEPTH
        free = [place for place in places if place.lost_s is None and len(place.tasks) < depth]
        return min(free, key=lambda place: len(place.tasks), default=None)

    def _candidates(self, task: ClientTask) -> list[_Place]:
        """The actors that can embody the task's client."""
        if self._dedicated:
            return [self._places[task.client_id]]
        return self._profile_places[self._experiment.setting.profile_index(task.client_id, task.round_idx)]

    def _receive(self, ref: ray.ObjectRef[Any]) -> None:
        place = self._in_flight[ref]
        try:
            outcome = ray.get(ref)
        except _GONE as error:
            self._lose(place, error)
        except ray.exceptions.RayError as error:
            submitted = self._take(place, ref)
            self._done[submitted.ticket] = _failure(submitted.job.task, "actor", _cause(error))
        else:
            self._done[self._take(place, ref).ticket] = outcome

    def _take(self, place: _Place, ref: ray.ObjectRef[Any]) -> _Submitted:
        """Strike a task off its actor's list."""
        del self._in_flight[ref]
        submitted = next(submitted for one, submitted in place.tasks if one == ref)
        place.tasks = deque(entry for entry in place.tasks if entry[0] != ref)
        place.began_s = self._clock()
        return submitted

    def _lose(self, place: _Place, error: Exception) -> None:
        """An actor is gone: keep what it had finished, blame the task that it was at, and take the others back."""
        tasks, place.tasks = list(place.tasks), deque()
        ray.wait([ref for ref, _ in tasks], num_returns=len(tasks))
        unfinished: list[_Submitted] = []
        for ref, submitted in tasks:
            del self._in_flight[ref]
            try:
                self._done[submitted.ticket] = ray.get(ref)
            except ray.exceptions.RayError:
                unfinished.append(submitted)
        if unfinished:
            stage, cause = "actor", f"{place.name} died: {_cause(error)}"
            if place.overdue:
                stage = "timeout"
                cause = (
                    f"no answer within runtime.task_timeout_s={self._task_timeout_s}; {place.name} was ended"
                )
            self._done[unfinished[0].ticket] = _failure(unfinished[0].job.task, stage, cause)
            self._backlog.extendleft(reversed(unfinished[1:]))
        place.lost_s, place.overdue = self._clock(), False
        place.back = place.actor.__ray_ready__.remote()

    def _welcome(self, place: _Place) -> None:
        """An actor is there again. One that Ray does not restart any more stays lost."""
        assert place.back is not None
        try:
            ray.get(place.back)
        except ray.exceptions.RayError:
            place.back = None
        else:
            place.back = place.lost_s = None

    def _end_overdue(self) -> None:
        """Kill the actors that have been at one task for too long; Ray restarts them."""
        if self._task_timeout_s is None:
            return
        for place in self._places:
            if place.tasks and not place.overdue and self._clock() - place.began_s >= self._task_timeout_s:
                place.overdue = True
                ray.kill(place.actor, no_restart=False)

    def _patience_s(self) -> float | None:
        """Seconds until a task may be overdue or a lost actor has been away for too long; None: neither can be."""
        moments = [
            place.lost_s + self._restart_timeout_s
            for place in self._places
            if place.lost_s is not None and not self._is_given_up(place)
        ]
        if self._task_timeout_s is not None:
            moments += [p.began_s + self._task_timeout_s for p in self._places if p.tasks and not p.overdue]
        return max(0.0, min(moments) - self._clock()) if moments else None

    def _require_somebody(self) -> None:
        """Raise ActorsLostError when a waiting job's actors have all been away for too long."""
        for submitted in self._backlog:
            places = self._candidates(submitted.job.task)
            if all(self._is_given_up(place) for place in places):
                names = ", ".join(place.name for place in places)
                raise ActorsLostError(
                    f"client {submitted.job.task.client_id}, round {submitted.job.task.round_idx}: its actors "
                    f"({names}) were lost, and Ray has not restarted them within "
                    f"runtime.restart_timeout_s={self._restart_timeout_s:g}"
                )

    def _is_given_up(self, place: _Place) -> bool:
        if place.lost_s is None:
            return False
        return place.back is None or self._clock() - place.lost_s >= self._restart_timeout_s


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


def start_actors(profiles: Sequence[DeviceProfile], placement: Placement, prefix: str) -> list[Any]:
    """Start a placement's client actors side by side, named `<prefix>/<name>`, without waiting for them.

    They are started in the order in which the placement found room for them, and returned in its own. Ray restarts
    one that dies; its tasks are not repeated by Ray, which is for the failure policy.
    """
    actor_class, started = ray.remote(ClientActor), dict[str, Any]()
    for name, index in sorted(placement.actors, key=lambda one: (hardest_first(profiles[one[1]]), one[1])):
        reserving = actor_class.options(
            name=f"{prefix}/{name}",
            max_restarts=-1,
            max_task_retries=-1,  # what is asked of an actor while Ray restarts it waits until it is there
            **reservation(profiles[index]),
        )
        started[name] = once_free(partial(reserving.remote, profiles[index].num_gpus))
    return [started[name] for name, _ in placement.actors]


def wait_for_actors(actors: Sequence[Any]) -> None:
    """Wait until every actor is up. Raises SparsefleetError when one cannot start."""
    try:
        ray.get([actor.__ray_ready__.options(max_task_retries=3).remote() for actor in actors])
    except ray.exceptions.RayActorError as error:
        raise SparsefleetError(f"a client actor cannot start: {one_line(error)}") from error


def reservation(profile: DeviceProfile) -> dict[str, Any]:
    """The options under which Ray reserves a profile's footprint for an actor."""
    return {
        "num_cpus": profile.num_cpus,
        "num_gpus": profile.num_gpus,
        "memory": profile.ray_memory_bytes or None,
        "resources": {name: amount for name, amount in profile.resources.items() if amount > 0},
        "accelerator_type": profile.accelerator_type,
    }


def end_actors(actors: Sequence[Any]) -> None:
    """Kill actors and wait until Ray knows them dead, so that their names and footprints are free."""
    for actor in actors:
        ray.kill(actor)
    for actor in actors:
        with suppress(ray.exceptions.RayActorError):
            ray.get(actor.__ray_ready__.options(max_task_retries=0).remote(), timeout=30)


def end_named(prefix: str, *, but: str) -> None:
    """Kill the actors whose names begin so, except one."""
    for name in list_named_actors():
        if name.startswith(prefix) and name != but:
            with suppress(ValueError):  # it went in the meantime
                ray.kill(ray.get_actor(name))


def once_free(start: Callable[[], Any]) -> Any:
    """The actor that `start` makes, as soon as Ray has let go of a dead one of the same name."""
    deadline_s = time.monotonic() + _NAME_FREE_S
    while True:
        try:
            return start()
        except ray.exceptions.ActorAlreadyExistsError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def one_line(error: Exception | str) -> str:
    """Ray's message on one line, without the colours that Ray writes for terminals."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
