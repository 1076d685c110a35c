"""The interface of a cluster's job server, and the records that the server takes and returns."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from orchestrator.cluster.variables import SentVariables

JobState = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
ENDED_STATES: tuple[JobState, ...] = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job to submit.

    `runtime_env` is Ray's runtime environment. `shipped` lists the user's files that Ray uploads with the job. Ray logs
    the runtime environment, but not `variables`.
    """

    job_id: str
    entrypoint: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]
    shipped: str = ""
    variables: SentVariables | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the job server reports it.

    `exit_code` is the exit code of the job's process; a negative one is the number of the signal that killed it.
    It is None while the job runs, and for a job that never started or was stopped. `driver` is Ray's id of the
    job, under which Ray lists the job's actors; it is "" until the job has connected to Ray. Times are Unix times.
    """

    job_id: str
    state: JobState
    message: str = ""
    exit_code: int | None = None
    driver: str = ""
    entrypoint: str = ""
    started_s: float | None = None
    ended_s: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended, with or without success."""
        return self.state in ENDED_STATES


class Jobs(Protocol):
    """The job server of a cluster. All methods raise ClusterError when the server does not answer."""

    address: str

    def submit(self, request: JobRequest) -> None:
        """Upload the files of a job and start the job."""

    def job(self, job_id: str) -> Job:
        """Return the present state of a job. Raises RequestError for an unknown id."""

    def jobs(self) -> list[Job]:
        """Return all submitted jobs that the cluster remembers, newest first."""

    def stop(self, job_id: str) -> None:
        """Send the job the signal that Ctrl-C sends."""

    def log(self, job_id: str) -> AsyncIterator[str]:
        """Yield the job's output, from its beginning until the job ends."""
