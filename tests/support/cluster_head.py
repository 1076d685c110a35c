"""The head of a Ray cluster with its dashboard, on free loopback ports, that wants a token."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.launched import descendants


@dataclass(frozen=True, slots=True)
class Head:
    """A running head: its dashboard, its doors for Ray Client and for members, the environment of who has its token."""

    address: str
    client: str
    gcs: str
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """SIGKILL it with all that it has started."""
        for pid in reversed(descendants(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def started_head() -> Iterator[Head]:
    """Start one in a folder of its own, whose path is short enough for Ray's sockets, and end it."""
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
        "GRPC_ENABLE_FORK_SUPPORT": "0",  # as docs/cluster has it
    }
    words = [
        *(str(tools / "ray"), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=2"),
        *("--node-ip-address=127.0.0.1", f"--port={port}", f"--ray-client-server-port={client}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *(f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder / 'r'}"),
        f"--object-store-memory={100 * 2**20}",
    ]
    log = folder / "head.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            words, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    head = Head(
        f"http://127.0.0.1:{dashboard}",
        f"ray://127.0.0.1:{client}",
        f"127.0.0.1:{port}",
        environment,
        process,
    )
    try:
        for awaited in (dashboard, agent):  # without an agent a job that is submitted soon fails
            _wait_until_it_listens(process, awaited, log)
        yield head
    finally:
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
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
