"""Implement `Jobs` on Ray's job server. Only this module uses Ray's job client and translates its errors."""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, final

import aiohttp
import requests
from ray.exceptions import AuthenticationError, RpcError
from ray.job_submission import JobDetails, JobSubmissionClient, JobType

from orchestrator.cluster.address import listens
from orchestrator.cluster.jobs import Job, JobRequest
from orchestrator.commands import command_line
from orchestrator.errors import AddressError, ClusterError, RequestError
from orchestrator.runtime.ray_address import ANSWER_S, check_answers

_API_VARIABLE = "RAY_API_SERVER_ADDRESS"
_CONNECT_REMEDY = (
    "start it, forward its dashboard (ssh -L 8265:127.0.0.1:8265 HEAD), or give another --address"
)
#: loggers of Ray that print progress at level INFO
_VERBOSE_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
#: seconds without a received byte after which a request to a cluster that has answered before fails
_TIMEOUT_S = 60


@final
class _Client(JobSubmissionClient):
    """Ray's job client with a timeout; without a timeout a request to a lost host never returns."""

    #: seconds without a received byte after which a request fails
    timeout_s: float = ANSWER_S

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        return super()._do_request(method, endpoint, **{"timeout": self.timeout_s, **options})


@final
class RayJobs:
    """The job server of a Ray cluster (see Jobs). `address` is the HTTP address of the cluster's dashboard."""

    def __init__(self, address: str) -> None:
        """`address` is the value of `--address`. Raises RequestError if no cluster answers or it rejects the token."""
        for name in _VERBOSE_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        if not listens(address):
            raise AddressError("--address", address, "no cluster listens there", _CONNECT_REMEDY)
        if not address.startswith("http"):
            check_answers("--address", address)
        try:
            with _api_address_in_environment(address), translated_errors(address):
                self._client = _Client(address)
        except (ClusterError, LookupError, TypeError) as error:  # another server may answer anything
            cause = _one_line(error.__cause__ or error)
            problem = f"no cluster answers there ({cause})"
            raise AddressError("--address", address, problem, _CONNECT_REMEDY) from error
        self._client.timeout_s = _TIMEOUT_S
        self.address: str = self._client.get_address()

    def submit(self, request: JobRequest) -> None:
        """See Jobs."""
        with translated_errors(self.address):
            if (sent := request.variables) is not None:
                answer = self._client._do_request("PUT", sent.path, data=sent.content())
                if answer.status_code != 200:
                    raise RuntimeError(
                        f"it does not store the variables of the job, status {answer.status_code}"
                    )
            self._client.submit_job(
                entrypoint=request.entrypoint,
                runtime_env=dict(request.runtime_env),
                metadata=dict(request.metadata),
                submission_id=request.job_id,
            )

    def job(self, job_id: str) -> Job:
        """See Jobs."""
        with translated_errors(self.address, job_id):
            return _job(self._client.get_job_info(job_id))

    def jobs(self) -> list[Job]:
        """See Jobs."""
        with translated_errors(self.address):
            found = [_job(job) for job in self._client.list_jobs() if job.type is JobType.SUBMISSION]
        return sorted(found, key=lambda job: job.started_s or 0.0, reverse=True)

    def stop(self, job_id: str) -> None:
        """See Jobs."""
        with translated_errors(self.address, job_id):
            self._client.stop_job(job_id)

    async def log(self, job_id: str) -> AsyncIterator[str]:
        """See Jobs."""
        with translated_errors(self.address, job_id):
            async for text in self._client.tail_job_logs(job_id):
                yield text

    def get(self, path: str) -> dict[str, Any]:
        """Return a JSON page of the dashboard; empty if this version of Ray does not have the page."""
        with translated_errors(self.address):
            answer = self._client._do_request("GET", path)
            content = answer.json() if answer.status_code == 200 else {}
        return content if isinstance(content, dict) else {}


def _job(details: JobDetails) -> Job:
    return Job(
        job_id=details.submission_id or details.job_id or "",
        state=details.status.value,
        message=details.message or "",
        exit_code=details.driver_exit_code,
        driver=details.job_id or "",
        entrypoint=details.entrypoint,
        started_s=details.start_time / 1000 if details.start_time else None,
        ended_s=details.end_time / 1000 if details.end_time else None,
    )


@contextmanager
def _api_address_in_environment(address: str) -> Iterator[None]:
    """Set Ray's address variable inside the block, because Ray prefers it to the address that it is given."""
    before = os.environ.get(_API_VARIABLE)
    os.environ[_API_VARIABLE] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[_API_VARIABLE]
        else:
            os.environ[_API_VARIABLE] = before


@contextmanager
def translated_errors(address: str, job_id: str | None = None) -> Iterator[None]:
    """Translate errors of Ray's client to RequestError or ClusterError, with one line that says what to do."""
    try:
        yield
    except AuthenticationError as error:
        raise RequestError("--address", address, *_token_advice(str(error))) from error
    except (ConnectionError, TimeoutError, aiohttp.ClientError, requests.RequestException) as error:
        raise ClusterError(f"the cluster at {address} does not answer ({_one_line(error)})") from error
    except (RuntimeError, ValueError, RpcError) as error:
        if job_id is not None and "does not exist" in str(error):
            problem = f"the cluster at {address} does not know this job"
            remedy = f"see `{command_line('status', '--address', address)}`"
            raise RequestError("JOB", job_id, problem, remedy) from error
        raise ClusterError(f"the cluster at {address} rejects the request ({_one_line(error)})") from error


def _token_advice(message: str) -> tuple[str, str]:
    """Return problem and remedy for a cluster with token authentication."""
    if message.startswith("Authentication failed"):
        return "the cluster does not know this token", "put the cluster's token into ~/.ray/auth_token"
    return (
        "the cluster requires a token",
        "set RAY_AUTH_MODE=token, and put the cluster's token into ~/.ray/auth_token or name its file in "
        "RAY_AUTH_TOKEN_PATH",
    )


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
