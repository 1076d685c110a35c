"""A `sparsefleet` command in its own process, which starts its own Ray. Tests wait for it, interrupt it and kill it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import psutil

#: seconds between two checks of a condition; a test that only waits leaves the cores to the command
_POLL_S = 0.02


class CommandProcess:
    """`sparsefleet` with some arguments, in its own process group. One pipe takes stdout and stderr."""

    def __init__(
        self,
        arguments: Sequence[object],
        wrapper: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`wrapper` is a command that starts the command. `environment` replaces the variables of this process."""
        command = [*wrapper, sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stderr=subprocess.STDOUT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=environment,
        )

    def wait_for(self, text: str) -> None:
        """Read the output until a line contains `text`."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} was never printed, only {''.join(seen)}")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` is true. Raises AssertionError if the process ends before."""
        while not condition():
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(_POLL_S)
                assert condition(), self.rest()
                return

    def rest(self, timeout_s: float | None = None) -> str:
        """Return the output until the process ends; after the timeout kill all its processes and raise."""
        try:
            return self.process.communicate(timeout=timeout_s)[0]
        except subprocess.TimeoutExpired:
            self.kill()
            output = self.process.communicate()[0]
            raise AssertionError(f"the command did not end within {timeout_s} s; output: {output}") from None

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the command, as Slurm and a closed terminal do."""
        signal_tree(self.process.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the process and to all its descendants."""
        kill_tree(self.process.pid)


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and to all processes below it."""
    signal_tree(pid, signal.SIGKILL)


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and to all processes below it."""
    for each in descendants(pid):
        with suppress(ProcessLookupError):
            os.kill(each, number)


def descendants(pid: int) -> list[int]:
    """Return `pid` and the ids of all processes below it."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return [pid]
