"""A command in a process of its own, with a Ray of its own, that tests wait for, interrupt and kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil


class Launched:
    """`sparsefleet` with some words, in a process group of its own. What it prints is read from one pipe."""

    def __init__(self, words: Sequence[object]) -> None:
        command = [sys.executable, "-m", "orchestrator.cli", *map(str, words)]
        self.process = subprocess.Popen(
            command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def wait_for(self, words: str) -> None:
        """Read what it prints until a line has the words."""
        assert self.process.stdout is not None
        seen = []
        for line in self.process.stdout:
            seen.append(line)
            if words in line:
                return
        raise AssertionError(f"{words!r} was never printed, only {''.join(seen)}")

    def rest(self, timeout_s: float | None = None) -> str:
        """What it still prints until it ends; all its processes are killed when that takes longer than it may."""
        try:
            return self.process.communicate(timeout=timeout_s)[0]
        except subprocess.TimeoutExpired:
            self.kill()
            said = self.process.communicate()[0]
            raise AssertionError(f"it had not ended after {timeout_s} s, and said: {said}") from None

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """`kill -9` of it and of every process below it."""
        for pid in descendants(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def descendants(pid: int) -> list[int]:
    """Return the ids of a process and of all processes below it, parents first."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return [pid]
    return [pid, *(child.pid for child in children)]
