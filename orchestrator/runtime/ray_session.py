"""Connect a command to Ray: to the configured cluster, or to a new local Ray."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError, one_line
from orchestrator.runtime.child_processes import killing_terminated_children, protected_children
from orchestrator.runtime.ray_import_path import ImportPathJob

#: Ray namespace of all actors; an actor's name starts with the name of its run or sweep
NAMESPACE = "sparsefleet"
#: Ray sets this variable for the command of a job, which then joins the job's cluster if no address is configured
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: the server of Ray Client forks a process for each client, which may die at once (ray-project/ray#63202)
_MAX_ATTEMPTS, _SERVER_DIED = 4, "Initialization failure from server"


@contextmanager
def ray_session(runtime: RuntimeConfig, *, verbose: bool = False) -> Iterator[None]:
    """Connect to the configured cluster or start a local Ray, and disconnect after the block.

    A connection that already exists is used and stays open. Raises ResourceError when the cluster does not answer.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = runtime.address or ("auto" if _JOB_VARIABLE in os.environ else "local")
    local: dict[str, Any] = {"include_dashboard": runtime.dashboard} if address == "local" else {}
    if not address.startswith("ray://"):  # through Ray Client, Ray adds no folder
        local["job_config"] = ImportPathJob()
    try:
        _connect(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            **local,
        )
    except (ConnectionError, ValueError) as error:
        problem = f"Ray cannot be reached ({one_line(error)})"
        raise ResourceError(
            "runtime.address",
            runtime.address,
            problem,
            "start the cluster (set RAY_AUTH_MODE=token if it uses tokens), or leave the key unset",
        ) from error
    try:
        yield
    finally:
        with killing_terminated_children():
            ray.shutdown()


def dashboard_note(runtime: RuntimeConfig) -> str | None:
    """Return the line that names the dashboard of the connected local Ray; None if the config asks for no dashboard."""
    if not runtime.dashboard or runtime.address is not None:
        return None
    # the second call changes nothing, and returns the addresses of the running Ray
    context: Any = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR)
    url = context.address_info.get("webui_url")
    return (
        f"Ray's dashboard: http://{url} (if it asks for a token, `ray get-auth-token` prints it)"
        if url
        else None
    )


def _connect(**options: Any) -> None:
    """Call ray.init, and retry when Ray Client's server died before it answered. Raises the last error."""
    for num_left in reversed(range(_MAX_ATTEMPTS)):
        try:
            with protected_children():
                ray.init(**options)
            return
        except ConnectionError as error:
            if not num_left or _SERVER_DIED not in str(error):
                raise
