"""Stop a run, a sweep or a job so that it can be resumed, on this machine or on a cluster."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from orchestrator.cluster.jobs import ENDED_STATES
from orchestrator.cluster.view import ActorView, Cluster
from orchestrator.commands import command_line
from orchestrator.errors import RequestError, SparsefleetError
from orchestrator.storage.folders import is_sweep
from orchestrator.storage.lock_owner import LockOwner, lock_owner, signal_owner
from orchestrator.storage.lookup import find_folder

#: seconds between two checks whether the process has ended
_POLL_S = 0.2
#: seconds that a process has to end after the second interrupt before it is killed
_KILL_DELAY_S = 20.0


@final
class RunStopper:
    """Stops the run, the sweep or the job of a given name, and waits until it has ended."""

    def __init__(
        self,
        storage: Path,
        connect: Callable[[], Cluster],
        note: Callable[[str], object],
        *,
        timeout_s: float,
        at_once: bool = False,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """`connect` is called only if the cluster is needed; `at_once` does not wait for the round in progress."""
        self._storage, self._connect, self._note = storage, connect, note
        self._timeout_s, self._at_once = timeout_s, at_once
        self._clock, self._pause = clock, pause

    def stop(self, name: str) -> None:
        """Stop `name`. Raises RequestError for an unknown name, SparsefleetError when it does not end in time."""
        folder = find_folder(name, self._storage)
        if folder is None:
            self._stop_on_cluster(name, None)
            return
        if is_sweep(folder.parent):
            raise RequestError(
                "RUN",
                name,
                "it is a trial of a sweep",
                f"stop the sweep: {command_line('stop', folder.parent)}",
            )
        owner = lock_owner(folder)
        if owner is None:
            self._note(f"{folder.name} is not running")
        elif owner.is_here:
            self._stop_process(folder, owner)
        else:
            self._stop_on_cluster(folder.name, owner)

    def _stop_process(self, folder: Path, owner: LockOwner) -> None:
        """Stop a process on this machine by signals, and wait until it has released the folder's lock."""

        def released() -> bool:
            return lock_owner(folder) != owner

        signal_owner(owner, signal.SIGINT)
        if self._at_once:
            self._note(f"stopping {folder.name} ({owner}) at once")
            if not self._wait_until(released, 1.0):
                signal_owner(owner, signal.SIGINT)
            if not self._wait_until(released, _KILL_DELAY_S):
                signal_owner(owner, signal.SIGKILL)
        else:
            self._note(f"{folder.name} ({owner}) ends after the round in progress")
        self._wait_for_end(folder.name, released)

    def _stop_on_cluster(self, name: str, owner: LockOwner | None) -> None:
        where = f"it runs at {owner}" if owner else f"nothing in {self._storage} has this name"
        try:
            cluster = self._connect()
        except RequestError as error:
            raise RequestError(
                "RUN", name, f"{where}, and {error.field} {error.value}: {error.problem}", error.remedy
            ) from error
        view = cluster.view()
        actors = [actor for actor in view.actors if _belongs_to(actor, name)]
        drivers = {actor.driver for actor in actors if actor.driver}
        jobs = [job.job_id for job in view.jobs if job.job_id == name or job.driver in drivers]
        if len(jobs) > 1:
            raise RequestError("RUN", name, f"jobs {', '.join(jobs)} run it", "name the job to stop")
        if jobs:
            self._stop_job(cluster, jobs[0], name)
        elif any(actor.name == f"{name}/driver" for actor in actors):
            cluster.stop_run(name)
            self._note(f"{name} ends after the round in progress")
            self._wait_for_end(
                name, lambda: not any(_belongs_to(actor, name) for actor in cluster.view().actors)
            )
        else:
            raise RequestError(
                "RUN",
                name,
                f"{where}, and it does not run on the cluster at {cluster.address}",
                f"see `{self._status_command()}`; give --storage or --address, or stop it on the machine "
                "that started it",
            )

    def _stop_job(self, cluster: Cluster, job_id: str, name: str) -> None:
        if cluster.job(job_id).ended:
            self._note(f"{name} is not running")
            return
        if self._at_once:
            cluster.kill_job(job_id)
        else:
            cluster.stop(job_id)
        how = "is stopped at once" if self._at_once else "ends after the round in progress"
        self._note(f"{name} {how}" + ("" if name == job_id else f" (job {job_id})"))
        self._wait_for_end(name, lambda: cluster.job(job_id).state in ENDED_STATES)

    def _wait_for_end(self, name: str, has_ended: Callable[[], bool]) -> None:
        if not self._wait_until(has_ended, self._timeout_s):
            raise SparsefleetError(
                f"{name} has not ended after {self._timeout_s:g} s; it still ends after its round, and "
                f"`{self._status_command()}` shows when; use --now to stop it before the round ends"
            )
        self._note(f"{name} has ended")

    def _status_command(self) -> str:
        return command_line("status", "--storage", self._storage)

    def _wait_until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until the condition is true; return False after the timeout."""
        deadline_s = self._clock() + timeout_s
        while not condition():
            if self._clock() >= deadline_s:
                return False
            self._pause(_POLL_S)
        return True


def _belongs_to(actor: ActorView, name: str) -> bool:
    """Whether an actor belongs to the run or the sweep `name`, or to a trial of the sweep."""
    return actor.run_id == name or re.fullmatch(re.escape(name) + r"-\d{3,}", actor.run_id) is not None
