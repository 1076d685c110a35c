"""Child processes that a signal to all processes does not end."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from orchestrator.processes.child_processes import killing_terminated_children, protected_children
from orchestrator.processes.signals import handling_signals


@pytest.fixture
def children() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Two protected processes that never end by themselves."""
    with protected_children():
        started = [subprocess.Popen(["sleep", "3600"]) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_protected_children_survive_sigterm_and_sighup(children: list["subprocess.Popen[bytes]"]) -> None:
    children[0].send_signal(signal.SIGTERM)
    children[0].send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        children[0].wait(0.2)


def test_child_that_the_block_terminates_is_killed(children: list["subprocess.Popen[bytes]"]) -> None:
    with killing_terminated_children():
        children[0].terminate()
        assert children[0].wait(60) == -signal.SIGKILL
    assert children[1].poll() is None


def test_child_that_was_terminated_before_is_killed_after_another_has_ended(
    children: list["subprocess.Popen[bytes]"],
) -> None:
    first, other = children
    first.terminate()
    other.terminate()
    with killing_terminated_children():
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.2)
        first.kill()
        assert other.wait(60) == -signal.SIGKILL


def test_block_installs_the_handlers_that_it_found_replaced() -> None:
    with handling_signals() as signals:
        with protected_children():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert signals.received
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
