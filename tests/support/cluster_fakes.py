"""A cluster that does what a test tells it to."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from orchestrator.cluster.jobs import Job, JobRequest
from orchestrator.cluster.view import ActorView, ClusterView, NodeView
from orchestrator.errors import ClusterError, RequestError

#: what a log can do beside giving text
INTERRUPT, BREAK, SILENCE, END = "<ctrl-c>", "<connection lost>", "<silence>", "<the job ends>"


class FakeJobs:
    """One job, whose log is played from its beginning each time that it is asked for.

    `plays` has what each asking gets, the last one again and again. Ended once its last play has ended.
    """

    def __init__(
        self,
        plays: Sequence[Sequence[str]],
        end: Job,
        *,
        on_stop: Job | None = None,
        before: Job | None = None,
    ) -> None:
        """The job is `before` (None: it runs) until it is `end`, or `on_stop` once it was told to stop."""
        self.address = "http://head:8265"
        self.stopped: list[str] = []
        self._plays, self._end, self._on_stop = list(plays), end, on_stop
        self._before = before or replace(end, state="RUNNING", exit_code=None)
        self._ended, self._num_looks = False, 0

    def submit(self, request: JobRequest) -> None:
        """See Jobs."""

    def job(self, job_id: str) -> Job:
        """See Jobs."""
        self._num_looks += 1
        return self._end if self._ended else self._before

    def jobs(self) -> list[Job]:
        """See Jobs."""
        return [self.job("")]

    def stop(self, job_id: str) -> None:
        """See Jobs."""
        self.stopped.append(job_id)
        self._end = self._on_stop or self._end

    async def log(self, job_id: str) -> AsyncIterator[str]:
        """See Jobs."""
        play = self._plays.pop(0) if len(self._plays) > 1 else self._plays[0]
        for text in play:
            if text == BREAK:
                raise ClusterError("the cluster at http://head:8265 does not answer (it is gone)")
            if text == INTERRUPT:
                signal.raise_signal(signal.SIGINT)
            elif text == END:
                self._ended = True
            elif text == SILENCE:
                looks = self._num_looks
                while self._num_looks < looks + 3:
                    await asyncio.sleep(0)
            else:
                yield text
        self._ended = True


class FakeCluster:
    """Actors and jobs; `after_stop` says what is left of them once something was told to stop."""

    def __init__(self, actors: Sequence[ActorView] = (), jobs: Sequence[Job] = (), looks: int = 1) -> None:
        """Whatever is told to stop has ended after so many looks."""
        self.address = "http://head:8265"
        self.told: list[str] = []
        self._actors, self._jobs, self._looks = list(actors), list(jobs), looks

    def view(self) -> ClusterView:
        """See Cluster."""
        self._look()
        return ClusterView(
            address=self.address, nodes=(HEAD,), actors=tuple(self._actors), jobs=tuple(self._jobs)
        )

    def job(self, job_id: str) -> Job:
        """See Jobs."""
        self._look()
        return next(job for job in self._jobs if job.job_id == job_id)

    def stop(self, job_id: str) -> None:
        """See Jobs."""
        self.told.append(f"stop job {job_id}")

    def stop_run(self, run_id: str) -> None:
        """See Cluster."""
        self.told.append(f"stop run {run_id}")

    def kill_job(self, job_id: str) -> None:
        """See Cluster."""
        self.told.append(f"kill job {job_id}")

    def _look(self) -> None:
        self._looks -= bool(self.told)
        if self.told and self._looks < 0:
            self._actors = []
            self._jobs = [replace(job, state="STOPPED") for job in self._jobs]


HEAD = NodeView(
    node_id="n1",
    address="10.0.0.1",
    is_head=True,
    alive=True,
    resources={"CPU": (1.5, 8.0), "memory": (None, 2.0**33)},
)


def actor(name: str, driver: str = "02000000", state: str = "ALIVE") -> ActorView:
    """One of a run's actors on the head."""
    return ActorView(name=name, state=state, node_id="n1", pid=7, driver=driver)


def nowhere() -> Callable[[], FakeCluster]:
    """Connects to no cluster."""

    def connect() -> FakeCluster:
        raise RequestError("--address", "http://head:8265", "no cluster listens there", "start it")

    return connect
