"""The Ray that a command works on: the configured cluster, or a local one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError, one_line

#: of the actors of all runs and sweeps, whose names begin with the run's or the sweep's
NAMESPACE = "sparsefleet"
#: set by Ray for a job's command: without an address it joins the job's cluster
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: Ray Client's server forks a process for each client and may lose it at once to gRPC's threads (ray-project/ray#63202)
_TRIES, _LOST_AT_ONCE = 4, "Initialization failure from server"


@contextmanager
def ray_session(runtime: RuntimeConfig, *, verbose: bool = False) -> Iterator[None]:
    """Connect to the configured cluster, or start a local one, for the block; joins one that is already up."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = runtime.address or ("auto" if _IN_A_JOB in os.environ else "local")
    local: dict[str, Any] = {"include_dashboard": runtime.dashboard} if address == "local" else {}
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
            "start the cluster (one with tokens wants RAY_AUTH_MODE=token), or leave the key unset",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _connect(**options: Any) -> None:
    """ray.init, again where the other end has failed before it knew what is wanted. Raises what the last try raises."""
    for num_left in reversed(range(_TRIES)):
        try:
            ray.init(**options)
            return
        except ConnectionError as error:
            if not num_left or _LOST_AT_ONCE not in str(error):
                raise
