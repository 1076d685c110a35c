"""What is needed of a cluster's job server, and the records that it answers with."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

JobState = Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"]
ENDED: tuple[JobState, ...] = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job as it is submitted; `runtime_env` is Ray's, `shipped` names the user's files that go with it."""

    job_id: str
    entrypoint: str
    runtime_env: Mapping[str, Any]
    metadata: Mapping[str, str]
    shipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the cluster knows it.

    `exit_code` is its process's (negative: a signal's number), None while it runs, and where there is none: it never
    started, or was stopped. `driver` is the id under which its actors are listed, "" before it has joined Ray.
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
        """Whether nothing more will come of it."""
        return self.state in ENDED


class Jobs(Protocol):
    """A cluster's job server. All calls raise ClusterError when it does not answer."""

    address: str

    def submit(self, request: JobRequest) -> None:
        """Upload what goes with a job, and start it."""

    def job(self, job_id: str) -> Job:
        """A job as it stands. Raises RequestError when there is none of that id."""

    def jobs(self) -> list[Job]:
        """All submitted jobs that the cluster remembers, newest first."""

    def stop(self, job_id: str) -> None:
        """Ask a job to end, as Ctrl-C would."""

    def log(self, job_id: str) -> AsyncIterator[str]:
        """What a job prints, from its beginning until its end."""
