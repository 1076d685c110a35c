"""An MLflow server for tests, in its own process, which tests can kill and restart."""

import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection
from pathlib import Path

_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_START_S = 120.0


class MlflowServer:
    """`mlflow server` on a fixed port of this machine, with database and artifacts in one folder.

    With `password`, only the user `admin` with this password may use the server.
    """

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.folder, self._password, self.port = folder, password, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        files = ["--artifacts-destination", f"{self.folder}/files"]
        access, secrets = self._access()
        self._process = subprocess.Popen(
            [*command, *store, *files, *access],
            env={**os.environ, **_QUIET, **secrets},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline_s = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, "the server has exited"
            assert time.monotonic() < deadline_s, "the server does not answer"
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the server and its workers with SIGKILL."""
        assert self._process is not None, "call start() first"
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _access(self) -> tuple[list[str], dict[str, str]]:
        """Return the arguments and the variables for MLflow's basic authentication."""
        if self._password is None:
            return [], {}
        settings = self.folder / "auth.ini"
        settings.write_text(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_username = admin\n"
            f"database_uri = sqlite:///{self.folder}/users.db\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        variables = {
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_PASSWORD": self._password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test",
        }
        return ["--app-name", "basic-auth"], variables

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def free_port() -> int:
    """Return a port of this machine on which no process listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
