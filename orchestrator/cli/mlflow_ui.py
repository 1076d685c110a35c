"""Starts the MLflow UI for `sparsefleet ui`, with a password when other machines can open it."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import ConfigError, RequestError

LOOPBACK = "127.0.0.1"
#: settings of MLflow's basic authentication: every user may read, only `admin` may change
AUTH_SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{users}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
#: seconds that the server has to end after SIGTERM
_END_S = 3.0


def serve_ui(storage: Path, port: int, host: str = LOOPBACK) -> int:
    """Run the MLflow UI on the database in a storage folder, and return the exit code of its server.

    KeyboardInterrupt ends the server. The server is in a process group of its own, so that only this process receives
    Ctrl-C. Raises ConfigError when the folder has no database, and RequestError when the UI needs a password and has
    none.
    """
    database = storage.resolve() / "mlflow.db"
    if not database.is_file():
        raise ConfigError("--storage", storage, "it has no MLflow store", "run an experiment first")
    command, environment = server_command(database, host, port, os.environ)
    shown_host = f"[{host}]" if ":" in host else host
    print(f"MLflow UI on http://{shown_host}:{port} (Ctrl-C stops it)", flush=True)
    with subprocess.Popen(command, env=dict(environment), process_group=0) as server:
        try:
            return server.wait()
        finally:
            _end(server)


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the processes of the server, in order if they end soon."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_END_S)


def server_command(
    database: Path, host: str, port: int, environment: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """Return the arguments and the environment of an MLflow server; beyond this machine it requires a password.

    Raises RequestError when the server needs a password and `environment` sets none.
    """
    command = [
        sys.executable,
        *("-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{database}"),
    ]
    # Sparsefleet uses no background jobs of MLflow, and their workers would slow down the start
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment}
    if host in (LOOPBACK, "localhost", "::1"):
        return command, environment
    users = database.with_name("mlflow-users.db")
    if not environment.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        problem = "other machines can open the UI at this address only with a password, and none is set"
        raise RequestError("--host", host, problem, "set MLFLOW_AUTH_ADMIN_PASSWORD, or use an SSH tunnel")
    settings = database.with_name("mlflow-auth.ini")
    settings.write_text(AUTH_SETTINGS.format(users=users))
    auth_environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # the server cannot know the host names that others use for it
    }
    return [*command, "--app-name", "basic-auth"], {**environment, **auth_environment}
