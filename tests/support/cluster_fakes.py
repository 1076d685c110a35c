"""Fakes of a job server and of a cluster, whose answers a test decides."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from orchestrator.cluster.jobs import Job, JobRequest
from orchestrator.cluster.view import ActorView, ClusterView, NodeView
from orchestrator.errors import ClusterError, RequestError

#: entries of a log that are events instead of text
INTERRUPT, BREAK, SILENCE, END = "<ctrl-c>", "<connection lost>", "<silence>", "<the job ends>"
TERMINATE, HANG_UP = "<sigterm>", "<sighup>"
_SIGNALS = {INTERRUPT: signal.SIGINT, TERMINATE: signal.SIGTERM, HANG_UP: signal.SIGHUP}


class FakeJobs:
    """A job server with one job, whose log starts from its beginning at each request.

    `plays` contains the log of each request; the last one is repeated. The job ends when a log has been read to
    its end.
    """

    def __init__(
        self,
        plays: Sequence[Sequence[str]],
        end: Job,
        *,
        on_stop: Job | None = None,
        before: Job | None = None,
    ) -> None:
        """The job's state is `before` (None: running), and then `end`, or `on_stop` if the job was stopped."""
        self.address = "http://head:8265"
        self.stopped: list[str] = []
        self._plays, self._end, self._on_stop = list(plays), end, on_stop
        self._before = before or replace(end, state="RUNNING", exit_code=None)
        self._ended, self._num_polls = False, 0

    def submit(self, request: JobRequest) -> None:
        """See Jobs."""

    def job(self, job_id: str) -> Job:
        """See Jobs."""
        self._num_polls += 1
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
                raise ClusterError("the cluster at http://head:8265 does not answer (connection lost)")
            if text in _SIGNALS:
                signal.raise_signal(_SIGNALS[text])
            elif text == END:
                self._ended = True
            elif text == SILENCE:
                num_polls = self._num_polls
                while self._num_polls < num_polls + 3:
                    await asyncio.sleep(0)
            else:
                yield text
        self._ended = True


class FakeCluster:
    """A cluster with actors and jobs, which end some polls after a stop or a kill; `calls` records both."""

    def __init__(self, actors: Sequence[ActorView] = (), jobs: Sequence[Job] = (), polls: int = 1) -> None:
        """After the first stop or kill all actors and jobs still run for `polls` calls of `view` or `job`."""
        self.address = "http://head:8265"
        self.calls: list[str] = []
        self._actors, self._jobs, self._polls_left = list(actors), list(jobs), polls

    def view(self) -> ClusterView:
        """See Cluster."""
        self._poll()
        return ClusterView(
            address=self.address, nodes=(HEAD,), actors=tuple(self._actors), jobs=tuple(self._jobs)
        )

    def job(self, job_id: str) -> Job:
        """See Jobs."""
        self._poll()
        return next(job for job in self._jobs if job.job_id == job_id)

    def stop(self, job_id: str) -> None:
        """See Jobs."""
        self.calls.append(f"stop job {job_id}")

    def stop_run(self, run_id: str) -> None:
        """See Cluster."""
        self.calls.append(f"stop run {run_id}")

    def kill_job(self, job_id: str) -> None:
        """See Cluster."""
        self.calls.append(f"kill job {job_id}")

    def _poll(self) -> None:
        self._polls_left -= bool(self.calls)
        if self.calls and self._polls_left < 0:
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
    """An actor of a run on the head node."""
    return ActorView(name=name, state=state, node_id="n1", pid=7, driver=driver)


def no_cluster() -> Callable[[], FakeCluster]:
    """A `connect` function that finds no cluster."""

    def connect() -> FakeCluster:
        raise RequestError("--address", "http://head:8265", "no cluster listens there", "start it")

    return connect
