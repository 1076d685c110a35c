"""The actors and processes of one run, as Ray and the kernel know them."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray._private.state import actors
from ray.util import placement_group_table


def actors_of(run_id: str, name: str = "") -> list[dict[str, Any]]:
    """The actors of a run whose names begin so, dead ones too."""
    return [actor for actor in actors().values() if actor["Name"].startswith(f"{run_id}/{name}")]


def living(run_id: str, name: str = "") -> list[dict[str, Any]]:
    """Those that are alive, or about to be."""
    return [actor for actor in actors_of(run_id, name) if actor["State"] != "DEAD"]


def kill(run_id: str, name: str, most: int | None = None) -> int:
    """SIGKILL the processes of running actors whose names begin so, `most` of them; their number."""
    running = [actor for actor in actors_of(run_id, name) if actor["State"] == "ALIVE" and actor["Pid"]]
    num_killed = 0
    for actor in running[:most]:
        with suppress(ProcessLookupError):
            os.kill(actor["Pid"], signal.SIGKILL)
            num_killed += 1
    return num_killed


def leaks(run_id: str) -> list[str]:
    """What an ended run has left behind: actors, their processes, placement groups."""
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
    """Whether a process is one of Ray's workers that holds an actor; idle ones are Ray's own to keep."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return False
    return title.startswith("ray::") and not title.startswith("ray::IDLE")
