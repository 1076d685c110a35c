"""Follow a job: print its log while it runs, let the user choose what a signal does, and return the job's exit code."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import final

from orchestrator.cluster.interrupts import Choice
from orchestrator.cluster.jobs import Job, Jobs
from orchestrator.commands import command_line
from orchestrator.errors import ClusterError, SparsefleetError

#: seconds without output after which the follower asks for the job's state
SILENCE_S = 5.0
#: silences after the job's end until the follower stops waiting for more output; Ray sends the last lines seconds late
MAX_SILENCES_AFTER_END = 6
#: seconds before each attempt to reach the cluster again
RETRIES_S = (1.0, 2.0, 4.0, 8.0, 15.0)


@final
class JobLogFollower:
    """Prints the log of one job until the job has ended, and reconnects when the connection breaks."""

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
        """`write` prints the job's output, `note` prints a line about the job, `choose` decides what a signal does."""
        self._jobs, self._job_id = jobs, job_id
        self._write, self._note, self._choose = write, note, choose
        self._pause, self._silence_s = pause, silence_s
        self._num_written, self._last_note = 0, ""

    def follow(self) -> int:
        """Return the exit code: the job's own, or 130 when the job was stopped or the user detached from it.

        Raises SparsefleetError when the job never started or was killed, ClusterError when the cluster is lost.
        """
        stopping = False
        while True:
            try:
                return exit_code(asyncio.run(self._wait_for_end()), submit_resume_command(self._jobs))
            except KeyboardInterrupt:
                choice = "detach" if stopping else self._choose()
            if choice == "detach":
                state = "is stopping" if stopping else "keeps running"
                command = follow_command(self._jobs, self._job_id)
                self._note(f"the job {state}; follow it again with: {command}")
                return 130
            if choice == "stop":
                self._jobs.stop(self._job_id)
                stopping = True
                self._note("stopping after the round in progress; press Ctrl-C again to stop waiting for it")

    async def _wait_for_end(self) -> Job:
        attempts = iter(RETRIES_S)
        while True:
            before = self._num_written
            try:
                job = await self._print_log()
                if job.ended:
                    return job
                await self._pause(1.0)  # Ray closes the log a moment before the job ends
            except ClusterError as error:
                if self._num_written > before:
                    attempts = iter(RETRIES_S)
                delay_s = next(attempts, None)
                if delay_s is None:
                    raise ClusterError(self._lost_message(error)) from error
                await self._pause(delay_s)

    async def _print_log(self) -> Job:
        """Print the output that was not printed before, until the log or the job ends."""
        log, position, silences = self._jobs.log(self._job_id), 0, 0
        waiting: asyncio.Task[str | None] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(_next(log))
                if not (await asyncio.wait({waiting}, timeout=self._silence_s))[0]:
                    job = self._jobs.job(self._job_id)
                    silences += job.ended
                    if silences == MAX_SILENCES_AFTER_END:
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
                await _end(waiting)

    def _note_pending(self, job: Job) -> None:
        line = f"{job.job_id} waits: {' '.join(job.message.split())}"
        if job.state == "PENDING" and self._last_note != line:
            self._last_note = line
            self._note(line)

    def _lost_message(self, error: ClusterError) -> str:
        return (
            f"{error}; the job keeps running if the cluster is up, and {follow_command(self._jobs, self._job_id)} "
            f"follows it again; if the head is lost, start it again, and `{submit_resume_command(self._jobs)}` "
            "resumes the run from its last checkpoint"
        )


async def _next(log: AsyncIterator[str]) -> str | None:
    return await anext(log, None)


async def _end(task: "asyncio.Task[str | None]") -> None:
    """End a task and ignore its result. KeyboardInterrupt inside of the task has already reached `follow`."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # else asyncio prints the exception of the task


def follow_command(jobs: Jobs, job_id: str) -> str:
    """Return the command that follows a job again."""
    return command_line("submit", "--address", jobs.address, "--follow", job_id)


def submit_resume_command(jobs: Jobs) -> str:
    """Return the command that resumes a run as a new job of the same cluster; RUN stands for the run's folder."""
    return command_line("submit", "--address", jobs.address, "resume", "RUN")


def exit_code(job: Job, resume: str) -> int:
    """Return the exit code of a command that followed this job to its end; `resume` is the command that resumes a run.

    Raises SparsefleetError when the job was killed or never started.
    """
    if job.state == "SUCCEEDED":
        return 0
    if job.state == "STOPPED":
        return 130
    if job.exit_code is not None and job.exit_code > 0:
        return job.exit_code
    if job.exit_code is not None:
        reason = f"signal {-job.exit_code} killed it"
    else:
        lines = [line for line in job.message.splitlines() if line.strip()] or ["the cluster gives no reason"]
        reason = f"it did not run to its end ({' '.join(lines[-1].split())})"
    raise SparsefleetError(
        f"job {job.job_id} failed: {reason}; `{resume}` resumes a run from its last checkpoint"
    )
