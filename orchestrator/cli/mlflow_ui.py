"""Runs the MLflow UI for `sparsefleet ui`, with a password when other machines can open it."""

import ctypes
import os
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

from orchestrator.atomic_write import PRIVATE_FILE, open_private, replace_file
from orchestrator.cli.options import run_ui_hint
from orchestrator.errors import ConfigError, RequestError, SparsefleetError, TrackingError, one_line
from orchestrator.private_files import private_umask
from orchestrator.storage.folders import is_run
from orchestrator.tracking.presentation.pages import page_at
from orchestrator.tracking.uris import client_uri, sqlite_uri

LOOPBACK = "127.0.0.1"
#: the only user that the server has at first
ADMIN = "admin"
#: settings of MLflow's basic authentication: every user may read, only `admin` may change
AUTH_SETTINGS = """[mlflow]
default_permission = READ
database_uri = {users}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
#: the server logs warnings and errors only
_QUIET = "--log-level warning --no-access-log"
#: Sparsefleet uses no background jobs of MLflow, and their workers would slow down the start
_ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_LOGGING_LEVEL": "ERROR"}
_POLL_S, _STOP_S = 0.2, 10.0
#: from <linux/prctl.h>
_PR_SET_PDEATHSIG = 1


def serve_ui(
    storage: Path,
    port: int,
    host: str = LOOPBACK,
    *,
    experiment: str | None = None,
    show: Callable[[str], object] | None = None,
) -> None:
    """Run the MLflow UI on the database in a storage folder, until KeyboardInterrupt.

    The function prints the address of the runs of an experiment (None: that of the newest run), and passes the address
    to `show` when the server answers.
    Raises ConfigError when the folder has no database, TrackingError when MLflow cannot use the database, RequestError
    for an unknown experiment and for an address that is in use or needs a password, and SparsefleetError when the
    server ends.
    """
    from orchestrator.tracking.mlflow.experiment import check_schema
    from orchestrator.tracking.sqlite_file import check_database, page_of_newest_run

    database = storage.resolve() / "mlflow.db"
    if not database.is_file():
        raise ConfigError("--storage", storage, "it has no MLflow store", _place_of_runs(storage))
    command, environment = server_command(database, host, port, os.environ)
    require_free_port(host, port)
    check_database(database, "MLflow store")
    check_schema(database)
    if "--app-name" in command:
        set_admin_password(_users(database), environment["MLFLOW_AUTH_ADMIN_PASSWORD"])
    shown_host = f"[{host}]" if ":" in host else host
    page = page_of_newest_run(database, experiment)
    if page is None and experiment is not None:
        problem = "the MLflow store has no active experiment with this name"
        raise RequestError("--experiment", experiment, problem, "omit --experiment to open the newest one")
    log = database.with_name("mlflow-ui.log")
    with _running(command, environment, log) as server:
        if _answers(server, host, port):
            address = page_at(f"http://{shown_host}:{port}", page or "")
            print(f"MLflow UI: {address} (Ctrl-C stops it)", flush=True)
            if show is not None:
                show(address)
            server.wait()
    raise SparsefleetError(f"the server of the MLflow UI has ended with code {server.returncode}; see {log}")


def has_desktop() -> bool:
    """Return whether a person is at this terminal and can see a browser's window.

    Without a display, Python would open a browser of text in the terminal.
    """
    is_local = not os.environ.get("SSH_CONNECTION")
    has_display = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return sys.stdout.isatty() and is_local and has_display


def _place_of_runs(storage: Path) -> str:
    """Return the remedy for a storage folder without a database: open the store of its newest run."""
    deliveries = sorted(storage.glob("*/tracking.json"), key=lambda path: path.stat().st_mtime)
    tracked = [path.parent for path in deliveries if is_run(path.parent)]
    if not tracked:
        return "run an experiment first"
    return f"the runs in it are tracked elsewhere: {run_ui_hint(tracked[-1])}"


def server_command(
    database: Path, host: str, port: int, environment: Mapping[str, str]
) -> tuple[list[str], Mapping[str, str]]:
    """Return the arguments and the environment of an MLflow server; beyond this machine it requires a password.

    Raises RequestError when the server needs a password and `environment` sets none.
    """
    command = [
        sys.executable,
        *("-m", "mlflow", "server", "--workers", "1", "--host", host, "--port", str(port)),
        *("--backend-store-uri", client_uri(sqlite_uri(database)), "--uvicorn-opts", _QUIET),
        *("--artifacts-destination", (database.parent / "mlartifacts").as_uri()),
    ]
    # modules in the current folder must not replace those of the server
    environment = {**_ENVIRONMENT, **environment, "PYTHONSAFEPATH": "1"}
    if host in (LOOPBACK, "localhost", "::1"):
        return command, environment
    if not environment.get("MLFLOW_AUTH_ADMIN_PASSWORD"):
        problem = "other machines can open the UI at this address only with a password, and none is set"
        raise RequestError("--host", host, problem, "set MLFLOW_AUTH_ADMIN_PASSWORD, or use an SSH tunnel")
    users = client_uri(sqlite_uri(_users(database)))
    settings = database.with_name("mlflow-auth.ini")
    replace_file(settings, AUTH_SETTINGS.format(admin=ADMIN, users=users.replace("%", "%%")).encode())
    auth_environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(),
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",  # the server cannot know the host names that others use for it
    }
    return [*command, "--app-name", "basic-auth"], {**environment, **auth_environment}


def set_admin_password(users: Path, password: str) -> None:
    """Set the password of `admin` in an existing database of users. MLflow sets it only when it creates the user.

    The statements are those of MLflow's own store, whose import takes seconds. Other users of the machine cannot read
    the database afterwards. Raises TrackingError for a database that is locked or damaged.
    """
    from werkzeug.security import check_password_hash, generate_password_hash

    if not users.exists():
        return
    users.chmod(PRIVATE_FILE)
    try:
        with closing(sqlite3.connect(users)) as connection, connection:
            rows = connection.execute(
                "SELECT password_hash FROM users WHERE username = ?", (ADMIN,)
            ).fetchall()
            if rows and not check_password_hash(rows[0][0], password):
                change = (generate_password_hash(password), ADMIN)
                connection.execute("UPDATE users SET password_hash = ? WHERE username = ?", change)
    except (sqlite3.Error, ValueError) as error:  # ValueError: an unknown kind of hash
        raise TrackingError(
            f"the users of the MLflow UI in {users} cannot be read ({one_line(error)})"
        ) from error


def _users(database: Path) -> Path:
    """The database with the users of the server."""
    return database.with_name("mlflow-users.db")


def require_free_port(host: str, port: int) -> None:
    """Raise RequestError when this machine has no such address, or another program listens there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        remedy = "give an address of this machine"
        raise RequestError("--host", host, f"this address is unknown ({error})", remedy) from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            problem = f"a server cannot listen at this port of {host} ({error.strerror})"
            raise RequestError("--port", port, problem, "choose another --port") from error


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the server inside the block, with its output in a file.

    A signal of the terminal reaches only this process, which ends the server. The server also ends when this process
    is killed.
    """
    with open_private(log, "wb") as output, private_umask():
        server = subprocess.Popen(
            command,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    try:
        yield server
    finally:
        try:
            if server.poll() is None:
                server.terminate()
                with suppress(subprocess.TimeoutExpired):
                    server.wait(_STOP_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _end_with_parent() -> None:
    """Ask Linux to send SIGTERM to this process when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _answers(server: "subprocess.Popen[bytes]", host: str, port: int) -> bool:
    """Wait for the first answer of the server; return False when the server ends before."""
    local = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)
    while server.poll() is None:
        connection = HTTPConnection(local, port, timeout=5)
        try:
            connection.request("GET", "/health")
            connection.getresponse()
            return True
        except OSError:
            time.sleep(_POLL_S)
        finally:
            connection.close()
    return False
