"""Starts client actors on Ray under their names and resources, waits for them, and kills them."""

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
from orchestrator.plugins.ray_checked_actor import actor_class, start_error

#: Ray's errors for a dead actor, which lost its tasks; Ray may restart the actor
GONE = (
    ray.exceptions.RayActorError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
)
#: time limit for the start of all client actors on a cluster with enough free resources
START_S = 300.0
#: time that Ray may need to release a dead actor's name
_NAME_FREE_S = 60.0


def start_actors(profiles: Sequence[DeviceProfile], placement: Placement, prefix: str) -> list[Any]:
    """Start a placement's client actors in parallel, named `<prefix>/<name>`, without waiting for them.

    The actors start in the order in which `packing` placed them, and are returned in the placement's order. Ray
    restarts a dead actor, but the failure policy retries its tasks.
    """
    client_class, started = actor_class(ClientActor), dict[str, Any]()
    for name, index in sorted(placement.actors, key=lambda a: (hardest_first(profiles[a[1]]), a[1])):
        reserving = client_class.options(
            name=f"{prefix}/{name}",
            max_restarts=-1,
            max_task_retries=-1,  # calls to an actor wait while Ray restarts it
            **reservation(profiles[index]),
        )
        started[name] = once_free(partial(reserving.remote, profiles[index].num_gpus))
    return [started[name] for name, _ in placement.actors]


def wait_for_actors(actors: Sequence[Any], timeout_s: float | None = None) -> None:
    """Wait until every actor runs, with the source of this process.

    Raises ActorsLostError when an actor does not start in time, SparsefleetError when an actor cannot start, and
    ClusterError for an actor that imports other source.
    """
    try:
        ray.get(
            [actor.__ray_ready__.options(max_task_retries=3).remote() for actor in actors], timeout=timeout_s
        )
    except ray.exceptions.GetTimeoutError as error:
        raise ActorsLostError(f"not all client actors have started within {timeout_s:g} s") from error
    except ray.exceptions.RayActorError as error:
        raise start_error(error, "a client actor") or SparsefleetError(
            f"a client actor cannot start: {one_line(error)}"
        ) from error


def reservation(profile: DeviceProfile) -> dict[str, Any]:
    """Ray options that reserve a profile's footprint for an actor."""
    return {
        "num_cpus": profile.num_cpus,
        "num_gpus": profile.num_gpus,
        "memory": profile.ray_memory_bytes or None,
        "resources": {name: amount for name, amount in profile.resources.items() if amount > 0},
        "accelerator_type": profile.accelerator_type,
    }


def end_actors(actors: Sequence[Any]) -> None:
    """Kill actors and wait until Ray has released their names and footprints."""
    for actor in actors:
        ray.kill(actor)
    for actor in actors:
        with suppress(*GONE, ray.exceptions.GetTimeoutError):
            ray.get(actor.__ray_ready__.options(max_task_retries=0).remote(), timeout=30)


def end_named(prefix: str, *, but: str) -> None:
    """Kill the actors whose names start with `prefix`, except the actor named `but`."""
    found = []
    for name in list_named_actors():
        if name.startswith(prefix) and name != but:
            with suppress(ValueError):  # the actor ended meanwhile
                found.append(ray.get_actor(name))
    end_actors(found)


def once_free(start: Callable[[], Any]) -> Any:
    """Start an actor as soon as Ray has released the name of a dead actor."""
    deadline_s = time.monotonic() + _NAME_FREE_S
    while True:
        try:
            return start()
        except ray.exceptions.ActorAlreadyExistsError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.1)


def this_node() -> NodeAffinitySchedulingStrategy:
    """The node on which the command runs. Driver and tracker run there, because they write to the run's folder."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def get_unwrapped(ref: ray.ObjectRef[Any], who: str = "the driver actor") -> Any:
    """Like ray.get, but raises the actor's own error without Ray's wrapper.

    `who` names the actor if it cannot start (ClusterError, SparsefleetError) or is lost (ActorsLostError).
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except GONE as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            raise cause from error
        raise start_error(error, who) or ActorsLostError(f"{who} is lost ({one_line(error)})") from error
