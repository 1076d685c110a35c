"""Start the head of a Ray cluster with dashboard and token, on free loopback ports."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.command_process import kill_tree


@dataclass(frozen=True, slots=True)
class HeadProcess:
    """A running head.

    `address` is the dashboard, `client` the server of Ray Client, `gcs` the address for members of the cluster.
    `environment` contains the token.
    """

    address: str
    client: str
    gcs: str
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """Send SIGKILL to the head and to all its descendants."""
        kill_tree(self.process.pid)
        self.process.wait()


@contextmanager
def started_head() -> Iterator[HeadProcess]:
    """Start a head in a new temporary folder, and kill it at the end. The folder's path is short enough for Ray."""
    folder = Path(tempfile.mkdtemp(prefix="sfj-"))
    port, dashboard, client, agent = _free_ports(4)
    tools = Path(sys.executable).parent
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PYTHONPATH"))}
    environment = kept | {
        "HOME": str(folder),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # as docs/cluster/README.md says
    }
    command = [
        *(str(tools / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", f"--ray-client-server-port={client}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder / 'r'}"),
        f"--object-store-memory={100 * 2**20}",
    ]
    log = folder / "head.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
            umask=0o077,  # as docs/cluster/README.md says
        )
    head = HeadProcess(
        f"http://127.0.0.1:{dashboard}",
        f"ray://127.0.0.1:{client}",
        f"127.0.0.1:{port}",
        environment,
        process,
    )
    try:
        for required in (dashboard, agent):  # a job that is submitted before the agent listens fails
            _wait_until_listening(process, required, log)
        yield head
    finally:
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline_s = time.monotonic() + 180
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 1.0):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.1)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
