"""Following a job: its log as it comes, Ctrl-C by choice, and the exit code that it ended with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Literal, final

from orchestrator.cluster.jobs import Job, Jobs
from orchestrator.errors import ClusterError, SparsefleetError

Choice = Literal["go on", "detach", "stop"]
#: how long nothing may be printed before the job itself is looked at, seconds
SILENCE_S = 5.0
#: so many silences after a job's end its log is given up: the cluster sends the last of it seconds later
LAST_SILENCES = 6
#: pauses between attempts to find a cluster again, seconds
RETRIES_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@final
class JobLogFollower:
    """Prints one job's log until the job has ended; a connection that breaks is made again."""

    def __init__(
        self,
        jobs: Jobs,
        job_id: str,
        *,
        write: Callable[[str], object],
        note: Callable[[str], object],
        choose: Callable[[], Choice],
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        silence_s: float = SILENCE_S,
    ) -> None:
        """`write` takes the job's own text, `note` a line about it, `choose` says what Ctrl-C means."""
        self._jobs, self._job_id = jobs, job_id
        self._write, self._note, self._choose = write, note, choose
        self._pause, self._silence_s = pause, silence_s
        self._num_written, self._noted = 0, ""

    def follow(self) -> int:
        """Return the exit code: the job's own, 130 when it was stopped or is left alone.

        Raises SparsefleetError when the job never started or was killed, ClusterError when the cluster is lost.
        """
        stopping = False
        while True:
            try:
                return exit_code(asyncio.run(self._ended()))
            except KeyboardInterrupt:
                choice = "detach" if stopping else self._choose()
            if choice == "detach":
                going_on = "is stopping" if stopping else "goes on"
                self._note(
                    f"the job {going_on}; look at it again with: {follow_words(self._jobs, self._job_id)}"
                )
                return 130
            if choice == "stop":
                self._jobs.stop(self._job_id)
                stopping = True
                self._note("stopping after the round in progress; press Ctrl-C again not to wait for it")

    async def _ended(self) -> Job:
        attempts = iter(RETRIES_S)
        while True:
            before = self._num_written
            try:
                job = await self._through_the_log()
                if job.ended:
                    return job
                await self._pause(1.0)  # its log is closed a moment before it has ended
            except ClusterError as error:
                if self._num_written > before:
                    attempts = iter(RETRIES_S)
                delay_s = next(attempts, None)
                if delay_s is None:
                    raise ClusterError(self._lost(error)) from error
                await self._pause(delay_s)

    async def _through_the_log(self) -> Job:
        """Print what is new, until the log or the job ends."""
        log, position, silences = self._jobs.log(self._job_id), 0, 0
        waiting: asyncio.Task[str | None] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(_next(log))
                if not (await asyncio.wait({waiting}, timeout=self._silence_s))[0]:
                    job = self._jobs.job(self._job_id)
                    silences += job.ended
                    if silences == LAST_SILENCES:
                        return job
                    self._note_pending(job)
                    continue
                text, waiting = waiting.result(), None
                if text is None:
                    return self._jobs.job(self._job_id)
                self._write(text[max(0, self._num_written - position) :])
                position += len(text)
                self._num_written = max(self._num_written, position)
        finally:
            if waiting is not None:
                waiting.cancel()
                with suppress(asyncio.CancelledError, ClusterError):
                    await waiting

    def _note_pending(self, job: Job) -> None:
        line = f"{job.job_id} waits: {' '.join(job.message.split())}"
        if job.state == "PENDING" and self._noted != line:
            self._noted = line
            self._note(line)

    def _lost(self, error: ClusterError) -> str:
        return (
            f"{error}; if the cluster is there, the job goes on, and {follow_words(self._jobs, self._job_id)} "
            "shows it again; if its head is gone, start it and let `sparsefleet submit resume RUN` go on from the "
            "last commit"
        )


def ask(read: Callable[[str], str] = input) -> Choice:
    """What the person at the terminal wants of a job; another Ctrl-C leaves it alone."""
    try:
        answer = read("\n[s]top the run after this round, [d]etach and let it go on, or [c]ontinue? ")
    except (KeyboardInterrupt, EOFError):
        return "detach"
    choices: dict[str, Choice] = {"s": "stop", "d": "detach"}
    return choices.get(answer.strip().lower()[:1], "go on")


async def _next(log: AsyncIterator[str]) -> str | None:
    return await anext(log, None)


def follow_words(jobs: Jobs, job_id: str) -> str:
    """The command that follows a job again."""
    return f"sparsefleet submit --address {jobs.address} --follow {job_id}"


def exit_code(job: Job) -> int:
    """What a command that followed this job ends with. Raises SparsefleetError when it was killed or never started."""
    if job.state == "SUCCEEDED":
        return 0
    if job.state == "STOPPED":
        return 130
    if job.exit_code is not None and job.exit_code > 0:
        return job.exit_code
    if job.exit_code is not None:
        reason = f"it was killed by signal {-job.exit_code}"
    else:
        lines = [line for line in job.message.splitlines() if line.strip()] or ["the cluster gives no reason"]
        reason = f"it did not run to its end ({' '.join(lines[-1].split())})"
    raise SparsefleetError(
        f"job {job.job_id} failed: {reason}; `sparsefleet submit resume RUN` goes on from the last commit of a run"
    )
