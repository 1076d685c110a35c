"""Machines for a test to start nodes on: each a network, process and mount namespace with an address of its own.

A machine's first process reads a pipe from this process and does nothing else. When that pipe closes, however this
process ends, the first process ends; the kernel then kills every other process of the machine and takes its network
away. So nothing is left behind, and nothing else can be hit.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, final

#: children that nobody waits for are reaped by the kernel, as a machine's first process should do
_FIRST_PROCESS = ("sh", "-c", "trap '' CHLD; echo; exec cat")
_SUBNET = "10.77.0"


class Machine(Protocol):
    """Somewhere to start processes."""

    address: str

    def popen(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a process in a session of its own; what it prints goes to a file."""

    def kill(self) -> None:
        """End the machine, as when its plug is pulled."""


@final
class NamespaceMachine:
    """A machine of its own."""

    def __init__(self, address: str) -> None:
        """`address` is what it has once it is plugged into a switch."""
        self.address = address
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                *_FIRST_PROCESS,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            raise PermissionError("namespaces are not allowed here")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self.first_pid = int(children.read_text())
        self._run("ip", "link", "set", "lo", "up")

    def plug_into(self, switch: "NamespaceMachine", port: str) -> None:
        """Connect to the bridge of another machine, by a cable that ends there as `port`."""
        cable = ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.first_pid)]
        switch._run("ip", *cable)
        switch._run("ip", "link", "set", port, "master", "bridge", "up")
        self._run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self._run("ip", "link", "set", "eth0", "up")

    def become_switch(self) -> None:
        """Make the bridge that others are plugged into."""
        self._run("ip", "link", "add", "bridge", "type", "bridge")
        self._run("ip", "address", "add", f"{self.address}/24", "dev", "bridge")
        self._run("ip", "link", "set", "bridge", "up")

    def popen(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """See Machine."""
        inside = ["nsenter", "--target", str(self.first_pid), "--net", "--mount", "--pid", "--wd=."]
        return _popen([*inside, *words], env, log)

    def kill(self) -> None:
        """See Machine. The processes are gone when this returns."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()

    def _run(self, *words: str) -> None:
        """Run a command on its network, but among the processes of this machine, by whose ids networks are named."""
        inside = ["nsenter", "--target", str(self.first_pid), "--net"]
        subprocess.run([*inside, *words], check=True)


@final
class SameMachine:
    """Where namespaces are not allowed: this machine, on which all nodes share one address."""

    address = "127.0.0.1"

    def popen(self, words: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """See Machine."""
        return _popen(words, env, log)

    def kill(self) -> None:
        """See Machine: the nodes end what they started here."""


def machines(number: int, isolated: bool, stack: ExitStack) -> list[Machine]:
    """So many machines on one switch, ended with the stack; or as often this machine."""
    if not isolated:
        return [SameMachine() for _ in range(number)]
    switch = NamespaceMachine(f"{_SUBNET}.1")
    stack.callback(switch.kill)
    switch.become_switch()
    made: list[Machine] = []
    for port in range(number):
        machine = NamespaceMachine(f"{_SUBNET}.{port + 2}")
        stack.callback(machine.kill)
        machine.plug_into(switch, f"port{port}")
        made.append(machine)
    return made


def namespaces_allowed() -> bool:
    """Whether this process may make them."""
    tried = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "ip",
        "link",
        "set",
        "lo",
        "up",
    ]
    try:
        return subprocess.run(tried, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _popen(words: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            words,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
