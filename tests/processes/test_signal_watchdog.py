"""A process ends although its main thread reacts to no signal."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import pytest

from orchestrator.processes.signal_watchdog import AT_ONCE_S, SignalCount

#: waits for a lock in C, which no signal interrupts. Arguments: the grace period in seconds
STUCK = """
import ctypes, sys
from contextlib import suppress
from orchestrator.processes.signals import handling_signals

mutex = ctypes.create_string_buffer(64)
library = ctypes.CDLL(None)
with handling_signals(float(sys.argv[1])) as signals, signals.finishing(lambda: None, "ends"):
    library.pthread_mutex_lock(mutex)
    print("stuck", flush=True)
    while True:  # a signal may arrive before the main thread waits
        with suppress(KeyboardInterrupt):
            library.pthread_mutex_lock(mutex)
"""


def test_process_has_less_than_five_seconds_after_the_second_signal() -> None:
    """docs/faults.md promises the five seconds; the tests below show that a stuck process then ends."""
    assert AT_ONCE_S < 5.0


@contextmanager
def stuck_process(grace_period_s: float) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", STUCK, str(grace_period_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "stuck\n"
        try:
            yield process
        finally:
            process.kill()


def wait_until_delivered(process: "subprocess.Popen[str]", number: signal.Signals) -> None:
    """Wait while a signal is pending: Linux merges two equal pending signals, and may change the order of others."""
    while True:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        pending = next(int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd:"))
        if not pending >> (number - 1) & 1:
            return


@pytest.mark.parametrize(
    ("first", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_second_signal_ends_a_process_that_does_not_react(first: signal.Signals, code: int) -> None:
    with stuck_process(3600) as process:
        process.send_signal(first)
        wait_until_delivered(process, first)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_end_of_the_grace_period_ends_a_process_that_does_not_react(
    number: signal.Signals, code: int
) -> None:
    with stuck_process(0.1) as process:
        process.send_signal(number)
        assert process.wait(60) == code


def test_one_interrupt_has_no_deadline() -> None:
    count = SignalCount(clock=repeat(0.0).__next__)
    assert count.add(signal.SIGINT)
    assert (count.first, count.at_once) == (signal.SIGINT, False)


@pytest.mark.parametrize(
    ("second", "after_s", "at_once"),
    [
        (signal.SIGTERM, 0.5, False),
        (signal.SIGHUP, 0.5, False),
        (signal.SIGTERM, 1.5, True),
        (signal.SIGINT, 0.0, True),
    ],
)
def test_second_signal_asks_for_the_end_at_once(
    second: signal.Signals, after_s: float, at_once: bool
) -> None:
    count = SignalCount(clock=iter([10.0, 10.0 + after_s]).__next__)
    count.add(signal.SIGTERM)
    assert count.add(second) is at_once
    assert count.at_once is at_once


def test_two_interrupts_in_a_row_are_two_requests() -> None:
    count = SignalCount(clock=repeat(0.0).__next__)
    count.add(signal.SIGINT)
    assert count.add(signal.SIGINT)
    assert count.at_once
