"""Machines on which a test starts nodes: each has its own network, process and mount namespace and its own address.

The first process of a machine only reads a pipe from this process. The pipe closes when this process ends in any way.
Then the first process ends, and the kernel kills all other processes of the machine and removes its network. No process
is left, and no process outside of the machine is killed.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, final

#: with this trap the kernel reaps orphaned children, which is the task of a machine's first process
_FIRST_PROCESS = ("sh", "-c", "trap '' CHLD; echo; exec cat")
_SUBNET = "10.77.0"


class Machine(Protocol):
    """A place where a test starts processes."""

    address: str

    def popen(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """Start a process in its own session; its output goes to the file `log`."""

    def kill(self) -> None:
        """End the machine at once, as in a power failure."""


@final
class NamespaceMachine:
    """A machine in its own namespaces."""

    def __init__(self, address: str) -> None:
        """`address` is the machine's address after `plug_into`."""
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
        """Connect to the bridge of another machine by a virtual cable, whose end there is named `port`."""
        cable = ["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(self.first_pid)]
        switch._run("ip", *cable)
        switch._run("ip", "link", "set", port, "master", "bridge", "up")
        self._run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self._run("ip", "link", "set", "eth0", "up")

    def become_switch(self) -> None:
        """Create the bridge to which other machines connect."""
        self._run("ip", "link", "add", "bridge", "type", "bridge")
        self._run("ip", "address", "add", f"{self.address}/24", "dev", "bridge")
        self._run("ip", "link", "set", "bridge", "up")

    def popen(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """See Machine."""
        inside = ["nsenter", "--target", str(self.first_pid), "--net", "--mount", "--pid", "--wd=."]
        return _popen([*inside, *arguments], env, log)

    def kill(self) -> None:
        """See Machine. All processes have ended when this method returns."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()

    def _run(self, *arguments: str) -> None:
        """Run a command in the machine's network namespace only: `ip` names networks by the process ids of the host."""
        inside = ["nsenter", "--target", str(self.first_pid), "--net"]
        subprocess.run([*inside, *arguments], check=True)


@final
class SameMachine:
    """This machine, for environments without namespaces; all nodes share its address."""

    address = "127.0.0.1"

    def popen(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
        """See Machine."""
        return _popen(arguments, env, log)

    def kill(self) -> None:
        """See Machine. Does nothing, because the nodes end their own processes."""


def machines(number: int, isolated: bool, stack: ExitStack) -> list[Machine]:
    """Return `number` machines on one switch, which end with the stack; without isolation each is this machine."""
    if not isolated:
        return [SameMachine() for _ in range(number)]
    switch = NamespaceMachine(f"{_SUBNET}.1")
    stack.callback(switch.kill)
    switch.become_switch()
    created: list[Machine] = []
    for port in range(number):
        machine = NamespaceMachine(f"{_SUBNET}.{port + 2}")
        stack.callback(machine.kill)
        machine.plug_into(switch, f"port{port}")
        created.append(machine)
    return created


def namespaces_allowed() -> bool:
    """Whether this process may create namespaces."""
    command = [
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
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _popen(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            arguments,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
