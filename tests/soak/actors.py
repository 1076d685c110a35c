"""List and kill the actors and processes of one run, as Ray and the kernel report them."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray._private.state import actors
from ray.util import placement_group_table


def actors_of(run_id: str, name: str = "") -> list[dict[str, Any]]:
    """Return the actors of a run whose names start with `name`, also dead ones."""
    return [actor for actor in actors().values() if actor["Name"].startswith(f"{run_id}/{name}")]


def living(run_id: str, name: str = "") -> list[dict[str, Any]]:
    """Return the actors of a run that are alive or starting."""
    return [actor for actor in actors_of(run_id, name) if actor["State"] != "DEAD"]


def kill(run_id: str, name: str, limit: int | None = None) -> int:
    """Send SIGKILL to the processes of at most `limit` running actors whose names start with `name`.

    Returns the number of killed processes.
    """
    running = [actor for actor in actors_of(run_id, name) if actor["State"] == "ALIVE" and actor["Pid"]]
    num_killed = 0
    for actor in running[:limit]:
        with suppress(ProcessLookupError):
            os.kill(actor["Pid"], signal.SIGKILL)
            num_killed += 1
    return num_killed


def leaks(run_id: str) -> list[str]:
    """Return one line for each actor, actor process and placement group that an ended run has left."""
    found = [f"actor {actor['Name']} is {actor['State']}" for actor in living(run_id)]
    groups = placement_group_table().values()
    found += [
        f"placement group {g['name'] or g['placement_group_id']}" for g in groups if g["state"] != "REMOVED"
    ]
    for actor in actors_of(run_id):
        if is_actor_process(actor["Pid"]):
            found.append(f"process {actor['Pid']} of {actor['Name']}")
    return found


def is_actor_process(pid: int) -> bool:
    """Whether a process is a Ray worker that runs an actor. Ray may keep idle workers."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return False
    return title.startswith("ray::") and not title.startswith("ray::IDLE")
