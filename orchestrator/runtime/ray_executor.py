"""The Ray executor: client tasks on dedicated or pooled actors."""

import re
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, final

import ray
import torch

from orchestrator.config import RuntimeConfig
from orchestrator.errors import SparsefleetError
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


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A submitted job that no actor has yet."""

    ticket: Ticket
    message: ray.ObjectRef[Any]
    job: Job


@final
class RayExecutor:
    """Keeps actors busy from one backlog, in submission order; results come back by ticket."""

    def __init__(
        self,
        experiment: Experiment,
        shared: SharedExperiment,
        placement: Placement,
        actors: Sequence[Any],
        *,
        num_cores: int,
    ) -> None:
        """`actors` are those of the placement, in its order; whoever started them ends them."""
        profiles = experiment.setting.profiles
        in_use = [profiles[index] for index in sorted({index for _, index in placement.actors})]
        self.description = f"Ray, {placement}{cpu_instead(in_use, cuda=torch.cuda.is_available())}"
        self._experiment, self._shared, self._dedicated = experiment, shared, placement.mode == "dedicated"
        self._most_in_flight = num_cores if self._dedicated else len(placement.actors) * POOLED_DEPTH
        self._actors = actors
        self._profile_actors: dict[int, list[int]] = {}
        for number, (_, profile) in enumerate(placement.actors):
            self._profile_actors.setdefault(profile, []).append(number)
        self._load: Counter[int] = Counter()
        self._backlog: deque[_Waiting] = deque()
        self._in_flight: dict[ray.ObjectRef[Any], tuple[Ticket, Job, int]] = {}
        self._done: dict[Ticket, Outcome[Any]] = {}
        self._message: tuple[Message, ray.ObjectRef[Any]] | None = None
        self._issued = 0

    def submit(self, message: Message, jobs: Sequence[Job]) -> tuple[Ticket, ...]:
        """See Executor. A message goes into the object store once, however many jobs it is for."""
        if self._message is None or self._message[0] is not message:
            self._message = message, ray.put(message.buffer)
        first = self._issued
        for job in jobs:
            self._backlog.append(_Waiting(Ticket(self._issued), self._message[1], job))
            self._issued += 1
        self._dispatch()
        return tuple(Ticket(number) for number in range(first, self._issued))

    def result(self, ticket: Ticket) -> Outcome[Any]:
        """See Executor."""
        while ticket not in self._done:
            if not self._in_flight:
                raise KeyError(ticket)
            ready, _ = ray.wait(list(self._in_flight), num_returns=1)
            for ref in ready:
                self._receive(ref)
            self._dispatch()
        return self._done.pop(ticket)

    def close(self) -> None:
        """See Executor. The actors stay; what they were given is waited for, so that they are free for others."""
        self._backlog.clear()
        if self._in_flight:
            ray.wait(list(self._in_flight), num_returns=len(self._in_flight))
            self._in_flight.clear()

    def _dispatch(self) -> None:
        """Give waiting jobs to actors with room, oldest first; a job without room lets later ones pass."""
        kept: deque[_Waiting] = deque()
        while self._backlog and len(self._in_flight) < self._most_in_flight:
            waiting = self._backlog.popleft()
            number = self._free_actor(waiting.job.task)
            if number is None:
                kept.append(waiting)
                continue
            job = waiting.job
            ref = self._actors[number].run.remote(
                self._shared, job.task, waiting.message, job.unicast, job.client_state
            )
            self._in_flight[ref] = waiting.ticket, job, number
            self._load[number] += 1
        self._backlog.extendleft(reversed(kept))

    def _free_actor(self, task: ClientTask) -> int | None:
        if self._dedicated:
            return task.client_id
        profile = self._experiment.setting.profile_index(task.client_id, task.round_idx)
        number = min(self._profile_actors[profile], key=lambda n: (self._load[n], n))
        return number if self._load[number] < POOLED_DEPTH else None

    def _receive(self, ref: ray.ObjectRef[Any]) -> None:
        ticket, job, number = self._in_flight.pop(ref)
        self._load[number] -= 1
        try:
            self._done[ticket] = ray.get(ref)
        except ray.exceptions.RayError as error:
            task = job.task
            self._done[ticket] = ClientFailure(
                round_idx=task.round_idx,
                position=task.position,
                client_id=task.client_id,
                stage="actor",
                cause=f"{type(error).__name__}: {one_line(error)}",
            )


def start_actors(
    profiles: Sequence[DeviceProfile], placement: Placement, prefix: str, *, retries: int
) -> list[Any]:
    """Start a placement's client actors side by side, named `<prefix>/<name>`, without waiting for them.

    They are started in the order in which the placement found room for them, and returned in its own. A task that its
    actor dies with is repeated so many times.
    """
    actor_class, started = ray.remote(ClientActor), dict[str, Any]()
    for name, index in sorted(placement.actors, key=lambda one: (hardest_first(profiles[one[1]]), one[1])):
        reserving = actor_class.options(
            name=f"{prefix}/{name}",
            max_restarts=-1,
            max_task_retries=retries,
            **reservation(profiles[index]),
        )
        started[name] = reserving.remote(profiles[index].num_gpus)
    return [started[name] for name, _ in placement.actors]


def wait_for_actors(actors: Sequence[Any]) -> None:
    """Wait until every actor is up. Raises SparsefleetError when one cannot start."""
    try:
        ray.get([actor.__ray_ready__.remote() for actor in actors])
    except ray.exceptions.RayActorError as error:
        raise SparsefleetError(f"a client actor cannot start: {one_line(error)}") from error


def task_retries(runtime: RuntimeConfig) -> int:
    """How often a task is repeated whose actor died."""
    return runtime.max_retries if runtime.failure_policy == "retry" else 0


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


def one_line(error: Exception | str) -> str:
    """Ray's message on one line, without the colours that Ray writes for terminals."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
