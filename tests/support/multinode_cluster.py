"""A Ray cluster of several nodes, each started by `ray start` on a machine of its own where that is allowed."""

import json
import os
import secrets
import shutil
import signal
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

from tests.support.command_process import descendants
from tests.support.multinode_machines import Machine, SameMachine, machines

#: what `ray start` prints once a node is up
_UP = "Ray runtime started."
_OBJECT_STORE_BYTES = 100 * 2**20
#: raylets write their figures often enough to be waited for, and a dead node is found out soon
_QUICK = {
    "RAY_debug_dump_period_milliseconds": "500",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "10000",
}


def wait_until(condition: Callable[[], bool], what: str, deadline_s: float = 120.0) -> None:
    """Look again and again until the condition holds. Raises AssertionError, saying what never happened."""
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.05)


@final
class Command:
    """A process on a machine, and what it has printed so far."""

    def __init__(self, machine: Machine, words: Sequence[object], env: Mapping[str, str], log: Path) -> None:
        self._log = log
        self.process = machine.popen([*map(str, words)], env, log)

    def said(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(errors="replace")

    def ended(self) -> bool:
        """Whether it has."""
        return self.process.poll() is not None

    def wait(self, deadline_s: float = 120.0) -> int:
        """Its exit code, once it has ended. Raises AssertionError with what it printed when it does not."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"it had not ended after {deadline_s:g} s, and said: {self.said()}"
            ) from None

    def kill(self) -> None:
        """SIGKILL of it and of every process below it."""
        for pid in descendants(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@final
class Node:
    """One node of a cluster; `head` is that of the cluster it joins (None: it is the head of its own)."""

    def __init__(self, name: str, machine: Machine, folder: Path, token: str, head: "Node | None") -> None:
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
        self._commands: list[Command] = []
        self._ray: Command | None = None
        self._finds: dict[str, str] = {}

    def start(self, port: int, *, num_cpus: int) -> None:
        """Begin to start Ray; `port` is the head's. The node has one of a resource of its own name."""
        if isinstance(
            self._machine, SameMachine
        ):  # where `auto` would look through other clusters' processes too
            self._finds = {"RAY_ADDRESS": f"{(self._head or self).address}:{port}"}
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
        """Wait for what `start` began."""
        ray = self._ray
        assert ray is not None
        wait_until(lambda: _UP in ray.said() or ray.ended(), f"{self.name} is up")
        assert _UP in ray.said(), ray.said()

    def exec(self, *words: object, env: Mapping[str, str] | None = None) -> Command:
        """Start a command on the node, as a user who is logged in there."""
        log = self.folder / f"command-{len(self._commands)}.log"
        command = Command(self._machine, words, {**self.env, **(env or {})}, log)
        self._commands.append(command)
        return command

    def python(self, *words: object) -> Command:
        """Start this Python on the node; to Ray there, `auto` is this cluster."""
        return self.exec(sys.executable, *words, env=self._finds)

    def is_up(self) -> bool:
        """Whether Ray runs here."""
        return self._ray is not None and not self._ray.ended()

    def kill(self) -> None:
        """SIGKILL of every process of Ray's on this node, and of nothing else that runs there."""
        assert self._ray is not None
        self._ray.kill()

    def num_client_actors(self) -> int:
        """How many live here now, by the names that Ray gives their processes."""
        assert self._ray is not None
        return sum(_title(pid).startswith("ray::ClientActor") for pid in descendants(self._ray.process.pid))

    def close(self) -> None:
        """End everything that was started on the node."""
        for command in self._commands:
            command.kill()

    def objects_received(self) -> int:
        """Objects up to 5 MiB that other nodes' stores have sent to this one's so far.

        That is a count in its raylet's own log, which is waited for until it is newer than this call. An object above
        5 MiB counts once for each 5 MiB.
        """
        (file,) = self.temp_dir.glob("session_2*/logs/debug_state.txt")
        asked_s = time.time()
        found: list[str] = []

        def is_there() -> bool:
            lines = file.read_text().splitlines() if file.stat().st_mtime > asked_s else []
            found[:] = [line for line in lines if "num chunks received total" in line]
            return bool(found)

        wait_until(is_there, f"the raylet of {self.name} writes down its figures")
        return int(found[0].rpartition(":")[2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _title(pid: int) -> str:
    """What a process calls itself; nothing once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


@final
class Cluster:
    """A head and workers with token authentication, as a context manager; `shared` is a folder that all see."""

    def __init__(self, num_workers: int, *, num_cpus: int, isolated: bool) -> None:
        """`num_cpus` is declared by each node; `isolated` gives each a machine of its own (see machines.py)."""
        self._num_nodes, self._num_cpus, self._isolated = num_workers + 1, num_cpus, isolated
        self._stack = ExitStack()
        self.port = 6379 if isolated else _free_port()
        self.nodes: list[Node] = []

    @property
    def head(self) -> Node:
        """The node that everything depends on."""
        return self.nodes[0]

    @property
    def workers(self) -> list[Node]:
        """The others."""
        return self.nodes[1:]

    @property
    def address(self) -> str:
        """What a run joins by."""
        return f"{self.head.address}:{self.port}"

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # sockets lie below it, whose paths may have 107 characters
            folder = Path(tempfile.mkdtemp(prefix="sf-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self.shared = folder / "shared"
            self.shared.mkdir()
            token = secrets.token_hex(32)
            for number, machine in enumerate(machines(self._num_nodes, self._isolated, stack)):
                name = f"worker-{number}" if number else "head"
                node = Node(name, machine, folder / name, token, self.head if number else None)
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
