"""Starts the MLflow UI for `sparsefleet ui`, with a password when other machines can open it."""

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from orchestrator.errors import ConfigError, RequestError

LOOPBACK = "127.0.0.1"
#: settings of MLflow's basic authentication: every user may read, only `admin` may change
AUTH_SETTINGS = """[mlflow]
default_permission = READ
database_uri = sqlite:///{users}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def serve_ui(storage: Path, port: int, host: str = LOOPBACK) -> NoReturn:
    """Replace this process by the MLflow UI on the database in a storage folder.

    Raises ConfigError when the folder has no database, and RequestError when the UI needs a password and has none.
    """
    database = storage.resolve() / "mlflow.db"
    if not database.is_file():
        raise ConfigError("--storage", storage, "it has no MLflow store", "run an experiment first")
    command, environment = server_command(database, host, port, os.environ)
    shown_host = f"[{host}]" if ":" in host else host
    print(f"MLflow UI on http://{shown_host}:{port} (Ctrl-C stops it)", flush=True)
    os.execve(sys.executable, command, dict(environment))


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
    # modules in the current folder must not replace those of the server
    environment = {**environment, "PYTHONSAFEPATH": "1"}
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
