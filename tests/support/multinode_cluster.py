"""A Ray cluster with several nodes; `ray start` starts each node on its own machine if namespaces are allowed."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, final

from tests.support.command_process import descendants, kill_tree
from tests.support.multinode_machines import Machine, SameMachine, machines

#: output of `ray start` after a node is up
_UP = "Ray runtime started."
_OBJECT_STORE_BYTES = 100 * 2**20
#: raylets write their statistics often, and Ray detects a dead node soon
_QUICK = {
    "RAY_debug_dump_period_milliseconds": "500",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
}


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 120.0) -> None:
    """Wait until the condition is true. Raises AssertionError with `what` after the deadline."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.05)


@final
class NodeCommand:
    """A process on a machine, and its output so far."""

    def __init__(
        self, machine: Machine, arguments: Sequence[object], env: Mapping[str, str], log: Path
    ) -> None:
        self._log = log
        self.process = machine.popen([*map(str, arguments)], env, log)

    def output(self) -> str:
        """Return everything that the process has printed."""
        return self._log.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def wait(self, deadline_s: float = 120.0) -> int:
        """Wait for the end and return the exit code. Raises AssertionError with the output after the deadline."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the command did not end within {deadline_s:g} s; output: {self.output()}"
            ) from None

    def kill(self) -> None:
        """Send SIGKILL to the process and to all its descendants."""
        kill_tree(self.process.pid)
        self.process.wait()


@final
class RayNode:
    """One node of a cluster. `head` is the head that the node joins; None: the node is the head."""

    def __init__(self, name: str, machine: Machine, folder: Path, token: str, head: "RayNode | None") -> None:
        self.name, self.address, self._machine, self._head = name, machine.address, machine, head
        self.folder = folder
        self.temp_dir = folder / "ray"
        home = folder / "home"
        self.env = {
            "HOME": str(home),
            "RAY_TMPDIR": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(home / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        home.mkdir(parents=True)
        (home / "token").write_text(token)
        (home / "token").chmod(0o600)
        self._commands: list[NodeCommand] = []
        self._ray: NodeCommand | None = None
        self._address_env: dict[str, str] = {}

    def start(self, port: int, *, num_cpus: int) -> None:
        """Start Ray without waiting; `port` is the head's. The node has 1 of a resource with the node's name."""
        if isinstance(
            self._machine, SameMachine
        ):  # otherwise `auto` could find the processes of other clusters
            self._address_env = {"RAY_ADDRESS": f"{(self._head or self).address}:{port}"}
        where = (
            ["--head", f"--port={port}", "--include-dashboard=false"]
            if self._head is None
            else [f"--address={self._head.address}:{port}"]
        )
        self._ray = self.exec(
            Path(sys.executable).with_name("ray"),
            "start",
            "--block",
            *where,
            f"--node-ip-address={self.address}",
            f"--temp-dir={self.temp_dir}",
            f"--num-cpus={num_cpus}",
            f"--resources={json.dumps({self.name: 1})}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
            env=_QUICK,
        )

    def wait_until_up(self) -> None:
        """Wait until the Ray that `start` has started is up."""
        ray = self._ray
        assert ray is not None
        wait_until(lambda: _UP in ray.output() or ray.ended(), f"{self.name} is up")
        assert _UP in ray.output(), ray.output()

    def exec(self, *arguments: object, env: Mapping[str, str] | None = None) -> NodeCommand:
        """Start a command on the node, with the environment of a user there."""
        log = self.folder / f"command-{len(self._commands)}.log"
        command = NodeCommand(self._machine, arguments, {**self.env, **(env or {})}, log)
        self._commands.append(command)
        return command

    def python(self, *arguments: object) -> NodeCommand:
        """Start this Python on the node, where Ray's address `auto` means this cluster."""
        return self.exec(sys.executable, *arguments, env=self._address_env)

    def is_up(self) -> bool:
        """Whether Ray runs on the node."""
        return self._ray is not None and not self._ray.ended()

    def kill(self) -> None:
        """Send SIGKILL to every Ray process on the node, and to no other process."""
        assert self._ray is not None
        self._ray.kill()

    def num_client_actors(self) -> int:
        """Return the number of client actors on the node, by the names of their processes."""
        return self._num_processes("ray::ClientActor")

    def num_aggregators(self) -> int:
        """Return the number of aggregators on the node, by the names of their processes."""
        return self._num_processes("ray::ShardActor")

    def _num_processes(self, title: str) -> int:
        assert self._ray is not None
        return sum(_title(pid).startswith(title) for pid in descendants(self._ray.process.pid))

    def close(self) -> None:
        """Kill all commands that were started on the node."""
        for command in self._commands:
            command.kill()

    def objects_received(self) -> int:
        """Return how many objects the node's object store has received from other nodes so far.

        The raylet writes this count to its log; the method waits until the log is newer than this call. An object of
        more than 5 MiB counts once for each 5 MiB.
        """
        (file,) = self.temp_dir.glob("session_2*/logs/debug_state.txt")
        asked_s = time.time()
        found: list[str] = []

        def is_written() -> bool:
            lines = file.read_text().splitlines() if file.stat().st_mtime > asked_s else []
            found[:] = [line for line in lines if "num chunks received total" in line]
            return bool(found)

        wait_until(is_written, f"the raylet of {self.name} writes its statistics")
        return int(found[0].rpartition(":")[2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _title(pid: int) -> str:
    """Return the title of a process; empty after its end."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@final
class MultinodeCluster:
    """A head and workers with token authentication, as a context manager. All nodes see the folder `shared`."""

    def __init__(self, num_workers: int, *, num_cpus: int, isolated: bool) -> None:
        """Each node declares `num_cpus`; `isolated` gives each node its own machine (see multinode_machines.py)."""
        self._num_nodes, self._num_cpus, self._isolated = num_workers + 1, num_cpus, isolated
        self._stack = ExitStack()
        self.port = 6379 if isolated else _free_port()
        self.nodes: list[RayNode] = []

    @property
    def head(self) -> RayNode:
        """The head node."""
        return self.nodes[0]

    @property
    def workers(self) -> list[RayNode]:
        """The worker nodes."""
        return self.nodes[1:]

    @property
    def address(self) -> str:
        """The address by which a run joins the cluster."""
        return f"{self.head.address}:{self.port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # Ray's sockets are inside this folder, and their paths may have 107 characters
            folder = Path(tempfile.mkdtemp(prefix="sf-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.shared = folder / "shared"
            self.shared.mkdir()
            token = secrets.token_hex(32)
            for number, machine in enumerate(machines(self._num_nodes, self._isolated, stack)):
                name = f"worker-{number}" if number else "head"
                node = RayNode(name, machine, folder / name, token, self.head if number else None)
                stack.callback(node.close)
                self.nodes.append(node)
            self.head.start(self.port, num_cpus=self._num_cpus)
            self.head.wait_until_up()
            for node in self.workers:
                node.start(self.port, num_cpus=self._num_cpus)
            for node in self.workers:
                node.wait_until_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
