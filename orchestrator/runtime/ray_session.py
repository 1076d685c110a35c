"""Connect a command to Ray: to the configured cluster, or to a new local Ray."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import AddressError, ClusterError, ConfigError, one_line
from orchestrator.private_files import (
    close_token_file,
    private_ray_folder,
    private_umask,
    temporary_folder,
)
from orchestrator.processes.child_processes import killing_terminated_children, protected_children
from orchestrator.runtime.ray_address import check_answers
from orchestrator.runtime.ray_import_path import ImportPathJob

#: Ray namespace of all actors; an actor's name starts with the name of its run or sweep
NAMESPACE = "sparsefleet"
#: config key with the address of the cluster
ADDRESS_KEY = "runtime.address"
#: Ray sets this variable for the command of a job, which then joins the job's cluster if no address is configured
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: the server of Ray Client forks a process for each client, which may die at once (ray-project/ray#63202)
_MAX_ATTEMPTS, _SERVER_DIED = 4, "Initialization failure from server"


@contextmanager
def ray_session(runtime: RuntimeConfig, *, verbose: bool = False) -> Iterator[None]:
    """Connect to the configured cluster or start a local Ray, and disconnect after the block.

    A connection that already exists is used and stays open. Raises AddressError when the cluster does not answer,
    ClusterError when a local Ray does not start, and ConfigError when Ray cannot use its temporary folder, or when the
    connection that exists leads to another cluster.
    """
    if ray.is_initialized():
        _require_connected(runtime.address)
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = cluster_address(runtime)
    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.ERROR,
    }
    if address is None or not address.startswith("ray://"):  # through Ray Client, Ray adds no folder
        options["job_config"] = ImportPathJob()
    if address is None:
        _start_local(include_dashboard=runtime.dashboard, **options)
    else:
        require_cluster(runtime)
        _join(address, **options)
    try:
        yield
    finally:
        with killing_terminated_children():
            ray.shutdown()


def session_note(runtime: RuntimeConfig) -> str | None:
    """Return the line that says what `ray_session` will do, which may take many seconds; None if Ray is connected."""
    if ray.is_initialized():
        return None
    address = cluster_address(runtime)
    return "starting Ray on this machine" if address is None else f"connecting to Ray at {address}"


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


def require_cluster(runtime: RuntimeConfig) -> None:
    """Raise AddressError when the run joins a cluster and the cluster does not answer."""
    address = cluster_address(runtime)
    if address is not None and not ray.is_initialized():
        check_answers(ADDRESS_KEY, address)


def cluster_address(runtime: RuntimeConfig) -> str | None:
    """Return the address of the cluster to join; None to start a local Ray. A job joins its own cluster by default."""
    return runtime.address or ("auto" if _JOB_VARIABLE in os.environ else None)


def _require_connected(address: str | None) -> None:
    """Raise ConfigError when the user's own connection leads to another cluster than `address` = `host:port`.

    Addresses of one cluster may differ in the host's name, and those of Ray Client in the port. In a worker, Ray
    itself made the connection.
    """
    context = ray.get_runtime_context()
    if address is None or "://" in address or ":" not in address or context.worker.mode != ray.SCRIPT_MODE:
        return
    connected = context.gcs_address
    if address.rpartition(":")[2] != connected.rpartition(":")[2]:
        raise ConfigError(
            ADDRESS_KEY,
            address,
            f"this process is connected to the Ray cluster at {connected}",
            "leave the key unset to use this connection, or call ray.shutdown() first",
        )


def _join(address: str, **options: Any) -> None:
    try:
        _connect(address=address, **options)
    except Exception as error:
        remedy = "start the cluster (set RAY_AUTH_MODE=token if it uses tokens), or leave the key unset"
        problem = f"Ray cannot connect ({one_line(error)})"
        raise AddressError(ADDRESS_KEY, address, problem, remedy) from error


def _start_local(**options: Any) -> None:
    try:
        folder = private_ray_folder(Path(temporary_folder()[1]))
        with private_umask():
            _connect(address="local", _temp_dir=str(folder), **options)
        close_token_file()
    except Exception as error:
        with suppress(Exception):  # end the processes that have started
            ray.shutdown()
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            raise _temporary_folder_error(error) from error
        raise ClusterError(
            f"Ray did not start on this machine ({one_line(error)}); its logs are in "
            f"{folder}/session_latest/logs; free memory and cores, then run the command again"
        ) from error


def _temporary_folder_error(error: OSError) -> ConfigError:
    """Return the error for a folder that Ray cannot use, for example because a socket's path would be too long."""
    variable, folder = temporary_folder()
    problem = f"Ray cannot use this folder for its sockets and logs ({one_line(error.strerror or error)})"
    return ConfigError(variable, folder, problem, f"set {variable} to a writable folder with a short path")


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
