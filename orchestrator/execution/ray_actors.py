"""Actors on Ray: started under names and footprints, waited for, and ended."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.util import list_named_actors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import ActorsLostError, SparsefleetError, one_line
from orchestrator.execution.client_actor import ClientActor
from orchestrator.execution.packing import hardest_first
from orchestrator.execution.placement import Placement
from orchestrator.fleet.profiles import DeviceProfile

#: what says that an actor is gone, for good or until Ray has restarted it, and the tasks that it had with it
GONE = (
    ray.exceptions.RayActorError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
)
#: how long client actors may take to start, all of them, where the cluster is known to have had room for them
START_S = 300.0
#: how long Ray may hold on to a dead actor's name
_NAME_FREE_S = 60.0


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


def wait_for_actors(actors: Sequence[Any], timeout_s: float | None = None) -> None:
    """Wait until every actor is up.

    Raises ActorsLostError when one is not within the time, SparsefleetError when one cannot start.
    """
    try:
        ray.get(
            [actor.__ray_ready__.options(max_task_retries=3).remote() for actor in actors], timeout=timeout_s
        )
    except ray.exceptions.GetTimeoutError as error:
        raise ActorsLostError(f"not all client actors have started within {timeout_s:g} s") from error
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
        with suppress(*GONE, ray.exceptions.GetTimeoutError):
            ray.get(actor.__ray_ready__.options(max_task_retries=0).remote(), timeout=30)


def end_named(prefix: str, *, but: str) -> None:
    """End the actors whose names begin so, except one."""
    found = []
    for name in list_named_actors():
        if name.startswith(prefix) and name != but:
            with suppress(ValueError):  # it went in the meantime
                found.append(ray.get_actor(name))
    end_actors(found)


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


def this_node() -> NodeAffinitySchedulingStrategy:
    """Where the command runs: driver and tracker write to the run's folder, which is there."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def get_unwrapped(ref: ray.ObjectRef[Any], who: str = "the driver actor") -> Any:
    """ray.get, with the error that the actor raised rather than Ray's wrapping of it; `who` is for its death."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except GONE as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            raise cause from error
        raise ActorsLostError(f"{who} is lost ({one_line(error)})") from error
