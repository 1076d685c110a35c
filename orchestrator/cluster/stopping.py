"""Ending a run, a sweep or a job so that it can go on later, wherever it is at work."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import final

from orchestrator.cluster.jobs import ENDED
from orchestrator.cluster.view import ActorView, Cluster
from orchestrator.errors import RequestError, SparsefleetError
from orchestrator.storage.folders import find_folder, is_sweep
from orchestrator.storage.lock_owner import LockOwner, lock_owner, signal_owner

#: between looks at whether it has ended, seconds
_POLL_S = 0.2
#: how long a process that was told to end at once may take before it is killed, seconds
_PATIENCE_S = 20.0


@final
class RunStopper:
    """Ends what a name stands for, and waits until it has ended."""

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
        """`connect` is called when the cluster is needed; `at_once` does not wait for the round in progress."""
        self._storage, self._connect, self._note = storage, connect, note
        self._timeout_s, self._at_once = timeout_s, at_once
        self._clock, self._pause = clock, pause

    def stop(self, name: str) -> None:
        """Raises RequestError for a name that nothing has, SparsefleetError when it has not ended in time."""
        folder = find_folder(name, self._storage)
        if folder is None:
            self._stop_on_cluster(name, None)
            return
        if is_sweep(folder.parent):
            raise RequestError(
                "RUN", name, "it is a trial of a sweep", f"stop the sweep: sparsefleet stop {folder.parent}"
            )
        found = lock_owner(folder)
        if found is None:
            self._note(f"{folder.name} is not at work")
        elif found.is_here:
            self._stop_here(folder, found)
        else:
            self._stop_on_cluster(folder.name, found)

    def _stop_here(self, folder: Path, found: LockOwner) -> None:
        signal_owner(found, signal.SIGINT)
        if self._at_once:
            self._note(f"ending {folder.name} ({found}) at once")
            if not self._within(1.0, lambda: lock_owner(folder) != found):
                signal_owner(found, signal.SIGINT)
            if not self._within(_PATIENCE_S, lambda: lock_owner(folder) != found):
                signal_owner(found, signal.SIGKILL)
        else:
            self._note(f"{folder.name} ({found}) ends after the round in progress")
        self._wait(folder.name, lambda: lock_owner(folder) != found)

    def _stop_on_cluster(self, name: str, found: LockOwner | None) -> None:
        where = f"it is at work at {found}" if found else f"nothing in {self._storage} has this name"
        try:
            cluster = self._connect()
        except RequestError as error:
            raise RequestError(
                "RUN", name, f"{where}, and of {error.field} {error.value}: {error.problem}", error.remedy
            ) from error
        view = cluster.view()
        actors = [actor for actor in view.actors if _works_for(actor, name)]
        drivers = {actor.driver for actor in actors if actor.driver}
        jobs = [job.job_id for job in view.jobs if job.job_id == name or job.driver in drivers]
        if len(jobs) > 1:
            raise RequestError("RUN", name, f"jobs {', '.join(jobs)} are at it", "name the one to end")
        if jobs:
            self._stop_job(cluster, jobs[0], name)
        elif any(actor.name == f"{name}/driver" for actor in actors):
            cluster.stop_run(name)
            self._note(f"{name} ends after the round in progress")
            self._wait(name, lambda: not any(_works_for(actor, name) for actor in cluster.view().actors))
        else:
            raise RequestError(
                "RUN",
                name,
                f"{where}, and it is not at work on the cluster at {cluster.address}",
                "see `sparsefleet status`; give --storage or --address, or stop it on its own machine",
            )

    def _stop_job(self, cluster: Cluster, job_id: str, name: str) -> None:
        if cluster.job(job_id).ended:
            self._note(f"{name} is not at work")
            return
        if self._at_once:
            cluster.kill_job(job_id)
        else:
            cluster.stop(job_id)
        how = "is ended at once" if self._at_once else "ends after the round in progress"
        self._note(f"{name} {how}" + ("" if name == job_id else f" (job {job_id})"))
        self._wait(name, lambda: cluster.job(job_id).state in ENDED)

    def _wait(self, name: str, ended: Callable[[], bool]) -> None:
        if not self._within(self._timeout_s, ended):
            raise SparsefleetError(
                f"{name} has not ended after {self._timeout_s:g} s; it ends after its round all the same, "
                "`sparsefleet status` shows when; --now does not wait for the round"
            )
        self._note(f"{name} has ended")

    def _within(self, seconds: float, true: Callable[[], bool]) -> bool:
        until = self._clock() + seconds
        while not true():
            if self._clock() >= until:
                return False
            self._pause(_POLL_S)
        return True


def _works_for(actor: ActorView, name: str) -> bool:
    """Whether an actor is a run's or a sweep's, or a trial's of the sweep."""
    return actor.run_id == name or re.fullmatch(re.escape(name) + r"-\d{3,}", actor.run_id) is not None
